// Crew: threads that work on numbered slots, whose results are collected in order; and Turns, for a part of the
// work that is done in order, too.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/try.hpp"
#include "qimg/error.hpp"

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

// Has a crew do work of any length with `slots` slots: `plan(slot)` fills in the next one, false at the end;
// `finish(slot)` gets those that are done, in the order in which they were planned. Both run in the caller's
// thread. Errors: of the two; what has not been finished then is dropped.
template <class Plan, class Finish>
Result<void> work_in_order(Crew& crew, std::size_t slots, Plan plan, Finish finish) {
    std::uint64_t planned = 0;
    std::uint64_t finished = 0;
    for (bool more = true;;) {
        while (more && planned - finished < slots) {
            const std::size_t slot = planned % slots;
            more = TRY(plan(slot));
            if (!more) break;
            crew.submit(slot);
            ++planned;
        }
        if (finished == planned) return {};
        const std::size_t slot = finished++ % slots;
        crew.wait(slot);
        TRY(finish(slot));
    }
}

// Lets threads go through something one after the other, in the order of their work's numbers. Whoever has a
// number must take its turn, or those behind wait forever.
class Turns {
  public:
    // Calls `in_order()` when it is this number's turn, the first one's being 0, and ends the turn.
    template <class InOrder>
    void take(std::uint64_t number, InOrder in_order) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return next_ == number; });
        lock.unlock();
        in_order();
        lock.lock();
        ++next_;
        changed_.notify_all();
    }

  private:
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::uint64_t next_ = 0;
};

}  // namespace qimg
