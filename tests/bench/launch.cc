// launch FD COMMAND [ARGUMENT]...: runs the command and writes to file descriptor FD what it took, as four numbers:
// wall-clock, user and system time in microseconds, peak memory in KiB. The kernel counts the memory of
// the process that starts another one as that one's, too; so this one is small, and the benchmark's Python is not.
// SPDX-License-Identifier: Apache-2.0
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

long long microseconds(const timeval& time) {
    return static_cast<long long>(time.tv_sec) * 1000000 + time.tv_usec;
}

long long now() {
    timespec time = {};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<long long>(time.tv_sec) * 1000000 + time.tv_nsec / 1000;
}

}  // namespace

int main(int count, char** words) {
    if (count < 3) return 125;
    const long long start = now();
    pid_t child = 0;
    if (const int error = posix_spawnp(&child, words[2], nullptr, nullptr, words + 2, environ); error != 0) {
        fprintf(stderr, "launch: %s: %s\n", words[2], strerror(error));
        return 127;
    }
    int status = 0;
    rusage usage = {};
    if (wait4(child, &status, 0, &usage) != child) return 125;
    dprintf(atoi(words[1]), "%lld %lld %lld %ld\n", now() - start, microseconds(usage.ru_utime),
            microseconds(usage.ru_stime), usage.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
