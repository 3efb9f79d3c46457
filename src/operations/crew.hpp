// Crew: threads that work on numbered slots, whose results are collected in order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace qimg {

// `work(member, slot)` runs on one of `members` threads, whose number it gets. The first few slots are done
// by the caller's own thread, as member 0: a small job then starts no thread at all.
class Crew {
  public:
    using WorkOn = std::function<void(std::size_t member, std::size_t slot)>;

    Crew(std::size_t members, std::size_t slots, WorkOn work);
    ~Crew();  // waits for what has begun; drops what has not
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    void submit(std::size_t slot);
    // Returns once the work on a submitted slot is done.
    void wait(std::size_t slot);

  private:
    void start();
    void run(std::size_t member);

    std::size_t members_;
    WorkOn work_;
    std::size_t submitted_ = 0;
    std::vector<std::thread> threads_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::deque<std::size_t> queue_;
    std::vector<bool> done_;
    bool stopping_ = false;
};

}  // namespace qimg
