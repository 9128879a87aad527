"""What is sent: prompt templates, trimming, compression and cache marks. Pure, but for the memory of prefixes."""
