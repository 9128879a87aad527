"""What others may watch: Prometheus metrics and OpenTelemetry traces, under the GenAI conventions' names."""
