/* A stand-in for libnvidia-ml.so.1: each call reads its answer from the file named by $NVML_STUB_FILE.
 *
 * The file holds lines "key value"; a GPU's keys begin with "gpuN.":
 *   count 2             GPUs in the machine (1; at most 16)
 *   init_err 9          nvmlInit fails: no driver
 *   reloaded 1          another number than before: the driver was reloaded, and wants a new nvmlInit
 *   hang_ms 3000        every question to a GPU takes so long: a stuck driver
 *   driver 580.65.06    cuda 13000
 *   gpu0.err 15         every question to this GPU fails: it is lost
 *   gpu0.no_SENSOR 3    this question fails with that error (1 stands for 3, "not supported"; 13: too old a driver).
 *                       SENSOR is what follows "gpu0." below, and also memory, memory_v2, temp_v, processes, drawing,
 *                       throttle_old
 *   gpu0.name NVIDIA L4   gpu0.uuid GPU-0
 *   gpu0.total_mib 24576  gpu0.used_mib 20000   gpu0.reserved_mib 500
 *   gpu0.temp 63        gpu0.slowdown 90      gpu0.margin 27
 *   gpu0.util 80        gpu0.mem_util 40      gpu0.power_mw 65000   gpu0.power_limit_mw 72000
 *   gpu0.sm_mhz 2040    gpu0.mem_mhz 6251     gpu0.fan 35           gpu0.ecc 0
 *   gpu0.throttle 4     (bits of nvmlClocksEventReasons)            gpu0.mig 0
 *   gpu0.pid0 1234      gpu0.pid0_mib 900     (-1: not available)   gpu0.gpid0 77, gpu0.gpid0_mib 3: one that draws
 *   name.1234 VLLM::EngineCore
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
       INSUFFICIENT_SIZE = 7, MAX_GPUS = 16 };

typedef struct { int index; } Device;
typedef unsigned long long Bytes;
typedef struct { Bytes total, free, used; } Memory;
typedef struct { unsigned version; Bytes total, reserved, free, used; } Memory2;
typedef struct { unsigned version; int sensor, temperature; } Temperature;
typedef struct { unsigned version; int margin; } Margin;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned pid; Bytes used; unsigned gpu_instance, compute_instance; } Process;

static Device devices[MAX_GPUS];
static int starts;
static long epoch;

static int text(const char *key, char *value, size_t size) {
    const char *path = getenv("NVML_STUB_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256];
    size_t length = strlen(key);
    int found = 0;
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    fclose(file);
    return found;
}

static long number(const char *key, long fallback) {
    char value[256];
    return text(key, value, sizeof value) ? strtol(value, NULL, 0) : fallback;
}

static long of_gpu(const Device *device, const char *key, long fallback) {
    char name[96];
    snprintf(name, sizeof name, "gpu%d.%s", device->index, key);
    return number(name, fallback);
}

static int asked(const Device *device, const char *sensor) {
    char name[96];
    long hang_ms = number("hang_ms", 0), error;
    if (hang_ms)
        usleep((unsigned)hang_ms * 1000);
    if (!starts || number("reloaded", 0) != epoch)
        return UNINITIALIZED;
    error = of_gpu(device, "err", SUCCESS);
    if (error)
        return (int)error;
    snprintf(name, sizeof name, "no_%s", sensor);
    error = of_gpu(device, name, SUCCESS);
    return error == 1 ? NOT_SUPPORTED : (int)error;
}

static int one(const Device *device, const char *sensor, long fallback, unsigned *value) {
    int error = asked(device, sensor);
    if (!error)
        *value = (unsigned)of_gpu(device, sensor, fallback);
    return error;
}

int nvmlInitWithFlags(unsigned flags) {
    int error = (int)number("init_err", SUCCESS);
    (void)flags;
    if (error)
        return error;
    if (!starts)
        epoch = number("reloaded", 0);
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

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    if (!text("driver", version, length))
        snprintf(version, length, "580.65.06");
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = (int)number("cuda", 13000);
    return SUCCESS;
}

int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length) {
    char key[96];
    snprintf(key, sizeof key, "name.%u", pid);
    return text(key, name, length) ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!starts || number("reloaded", 0) != epoch)
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

int nvmlDeviceGetUUID(Device *device, char *uuid, unsigned length) {
    char key[96];
    int error = asked(device, "uuid");
    if (error)
        return error;
    snprintf(key, sizeof key, "gpu%d.uuid", device->index);
    if (!text(key, uuid, length))
        snprintf(uuid, length, "GPU-%d", device->index);
    return SUCCESS;
}

int nvmlDeviceGetName(Device *device, char *name, unsigned length) {
    char key[96];
    int error = asked(device, "name");
    if (error)
        return error;
    snprintf(key, sizeof key, "gpu%d.name", device->index);
    if (!text(key, name, length))
        snprintf(name, length, "NVIDIA L4");
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
    int error = asked(device, "memory");
    Bytes mib = 1 << 20;
    if (error)
        return error;
    memory->total = mib * (Bytes)of_gpu(device, "total_mib", 24576);
    memory->used = mib * (Bytes)(of_gpu(device, "used_mib", 20000) + of_gpu(device, "reserved_mib", 500));
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(Device *device, Memory2 *memory) {
    int error = asked(device, "memory_v2");
    Bytes mib = 1 << 20;
    if (error)
        return error;
    memory->total = mib * (Bytes)of_gpu(device, "total_mib", 24576);
    memory->used = mib * (Bytes)of_gpu(device, "used_mib", 20000);
    memory->reserved = mib * (Bytes)of_gpu(device, "reserved_mib", 500);
    memory->free = memory->total - memory->used - memory->reserved;
    return SUCCESS;
}

int nvmlDeviceGetTemperatureV(Device *device, Temperature *temperature) {
    int error = asked(device, "temp_v");
    if (!error)
        temperature->temperature = (int)of_gpu(device, "temp", 63);
    return error;
}

int nvmlDeviceGetTemperature(Device *device, int sensor, unsigned *celsius) {
    (void)sensor;
    return one(device, "temp", 63, celsius);
}

int nvmlDeviceGetTemperatureThreshold(Device *device, int threshold, unsigned *celsius) {
    return threshold == 1 ? one(device, "slowdown", 90, celsius) : NOT_SUPPORTED;
}

int nvmlDeviceGetMarginTemperature(Device *device, Margin *margin) {
    int error = asked(device, "margin");
    if (!error)
        margin->margin = (int)of_gpu(device, "margin", 27);
    return error;
}

int nvmlDeviceGetUtilizationRates(Device *device, Utilization *use) {
    int error = asked(device, "util");
    if (error)
        return error;
    use->gpu = (unsigned)of_gpu(device, "util", 80);
    use->memory = (unsigned)of_gpu(device, "mem_util", 40);
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Device *device, unsigned *milliwatts) {
    int error = asked(device, "power");
    if (!error)
        *milliwatts = (unsigned)of_gpu(device, "power_mw", 65000);
    return error;
}

int nvmlDeviceGetEnforcedPowerLimit(Device *device, unsigned *milliwatts) {
    return one(device, "power_limit_mw", 72000, milliwatts);
}

int nvmlDeviceGetClockInfo(Device *device, int type, unsigned *mhz) {
    return type == 2 ? one(device, "mem_mhz", 6251, mhz) : one(device, "sm_mhz", 2040, mhz);
}

int nvmlDeviceGetFanSpeed(Device *device, unsigned *percent) { return one(device, "fan", 35, percent); }

int nvmlDeviceGetTotalEccErrors(Device *device, int type, int counter, Bytes *count) {
    int error = asked(device, "ecc");
    (void)counter;
    if (!error)
        *count = type == 1 ? (Bytes)of_gpu(device, "ecc", 0) : 0;
    return error;
}

int nvmlDeviceGetCurrentClocksEventReasons(Device *device, Bytes *reasons) {
    int error = asked(device, "throttle");
    if (!error)
        *reasons = (Bytes)of_gpu(device, "throttle", 0);
    return error;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(Device *device, Bytes *reasons) {
    int error = asked(device, "throttle_old");
    if (!error)
        *reasons = (Bytes)of_gpu(device, "throttle", 0);
    return error;
}

int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
    int error = one(device, "mig", 0, current);
    *pending = *current;
    return error;
}

static int processes(Device *device, const char *prefix, unsigned *count, Process *found) {
    unsigned room = *count, there = 0;
    char key[96];
    long pid;
    for (;; there++) {
        snprintf(key, sizeof key, "%s%u", prefix, there);
        pid = of_gpu(device, key, -1);
        if (pid < 0)
            break;
        if (there < room) {
            long mib;
            snprintf(key, sizeof key, "%s%u_mib", prefix, there);
            mib = of_gpu(device, key, -1);
            found[there].pid = (unsigned)pid;
            found[there].used = mib < 0 ? (Bytes)-1 : (Bytes)mib << 20;
            found[there].gpu_instance = found[there].compute_instance = (unsigned)-1;
        }
    }
    *count = there;
    return there > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *found) {
    int error = asked(device, "processes");
    return error ? error : processes(device, "pid", count, found);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *device, unsigned *count, Process *found) {
    int error = asked(device, "drawing");
    return error ? error : processes(device, "gpid", count, found);
}
