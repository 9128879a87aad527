/* A stand-in for libnvidia-ml.so.1: each call reads its answer from the file named by $NVML_STUB_FILE.
 *
 * The file holds lines "key value"; a GPU's keys begin with "gpuN.":
 *   count 2           GPUs in the machine (1)
 *   init_err 9        nvmlInit fails: no driver
 *   hang_ms 3000      every question to a GPU takes so long: a stuck driver
 *   gpu0.power_mw     power in milliwatts (65000)
 *   gpu0.no_power 1   this GPU has no power sensor
 *   gpu0.err 15       every question to this GPU fails: it is lost
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, MAX_GPUS = 8 };

typedef struct { int index; } Device;

static Device devices[MAX_GPUS];
static int starts;

static long number(const char *key, long fallback) {
    const char *path = getenv("NVML_STUB_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char name[96];
    long value, found = fallback;
    if (!file)
        return fallback;
    while (fscanf(file, "%95s %ld", name, &value) == 2)
        if (!strcmp(name, key))
            found = value;
    fclose(file);
    return found;
}

static long of_gpu(const Device *device, const char *key, long fallback) {
    char name[96];
    snprintf(name, sizeof name, "gpu%d.%s", device->index, key);
    return number(name, fallback);
}

int nvmlInitWithFlags(unsigned flags) {
    int error = (int)number("init_err", SUCCESS);
    (void)flags;
    if (error)
        return error;
    for (int index = 0; index < MAX_GPUS; index++)
        devices[index].index = index;
    starts++;
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    if (!starts)
        return UNINITIALIZED;
    starts--;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!starts)
        return UNINITIALIZED;
    *count = (unsigned)number("count", 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    if (!starts)
        return UNINITIALIZED;
    if (index >= MAX_GPUS || index >= (unsigned)number("count", 1))
        return INVALID_ARGUMENT;
    *device = &devices[index];
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Device *device, unsigned *milliwatts) {
    long hang_ms = number("hang_ms", 0);
    int error;
    if (hang_ms)
        usleep((unsigned)hang_ms * 1000);
    if (!starts)
        return UNINITIALIZED;
    error = (int)of_gpu(device, "err", SUCCESS);
    if (error)
        return error;
    if (of_gpu(device, "no_power", 0))
        return NOT_SUPPORTED;
    *milliwatts = (unsigned)of_gpu(device, "power_mw", 65000);
    return SUCCESS;
}
