// Threads that are started only when there is enough to do.
// SPDX-License-Identifier: Apache-2.0
#include "operations/crew.hpp"

#include <system_error>

namespace qimg {

namespace {

constexpr std::size_t slots_without_threads = 3;

}  // namespace

Crew::Crew(std::size_t members, std::size_t slots, WorkOn work)
    : members_(members), work_(std::move(work)), done_(slots, false) {}

Crew::~Crew() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_)
        thread.join();
}

// With fewer threads than wished for, or none, the work still gets done.
void Crew::start() {
    try {
        while (threads_.size() < members_) {
            const std::size_t member = threads_.size();
            threads_.emplace_back([this, member] { run(member); });
        }
    } catch (const std::system_error&) {
        members_ = threads_.size();
    }
}

void Crew::submit(std::size_t slot) {
    if (submitted_++ == slots_without_threads && members_ > 1) start();
    if (threads_.empty()) {
        work_(0, slot);
        done_[slot] = true;
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        done_[slot] = false;
        queue_.push_back(slot);
    }
    changed_.notify_all();
}

void Crew::wait(std::size_t slot) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_[slot]; });
}

void Crew::run(std::size_t member) {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
        const std::size_t slot = queue_.front();
        queue_.pop_front();
        lock.unlock();
        work_(member, slot);
        lock.lock();
        done_[slot] = true;
        changed_.notify_all();
    }
}

}  // namespace qimg
