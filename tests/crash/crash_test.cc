// Every command that changes an image in place, on every sort of image, cut at every call: guests see the old or
// the new content, and what is wrong is at worst a leak. Prints a table of what was tried.
//
// QIMG_SEED replays one run. Ordinarily each command is tried on a few images, drawn by the seed. QIMG_LONG=1
// tries all, with QIMG_ROUNDS (2) random states at each cut beside the systematic ones; QIMG_MINUTES=N goes on with
// other seeds until N minutes have passed.
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <set>
#include <thread>

#include "support/crash_states.hpp"
#include "support/environment.hpp"
#include "support/qemu_check.hpp"
#include "support/test_commands.hpp"
#include "support/verdict.hpp"

using namespace qimg;
using namespace qimg::test;

namespace {

constexpr std::size_t images_in_short = 4;         // that each command is tried on
constexpr std::size_t states_in_short = 44;        // of each of these
constexpr std::size_t systematic_max = 24;         // calls left out, or left alone, at one cut
constexpr std::uint64_t large_bytes = 4 * MiB;     // a folder of which fewer states are tried
constexpr std::uint64_t qemu_every_in_short = 40;  // states
constexpr std::uint64_t qemu_every = 20;

struct Tally {
    std::set<std::string> images;
    std::uint64_t calls = 0;
    std::uint64_t states = 0;
    std::uint64_t with_leaks = 0;
    std::uint64_t leaks = 0;
    std::uint64_t with_flags = 0;
    std::uint64_t by_qemu = 0;
    std::uint64_t corrupt = 0;
    std::uint64_t lost = 0;

    void add(const Tally& other) {
        images.insert(other.images.begin(), other.images.end());
        calls += other.calls;
        states += other.states;
        with_leaks += other.with_leaks;
        leaks += other.leaks;
        with_flags += other.with_flags;
        by_qemu += other.by_qemu;
        corrupt += other.corrupt;
        lost += other.lost;
    }
};

struct Plan {
    std::uint64_t seed = 1;
    bool is_long = false;
    std::uint64_t rounds = 2;
    std::optional<std::chrono::steady_clock::time_point> until;

    bool is_over() const { return until && std::chrono::steady_clock::now() > *until; }
};

// One command on one image.
class Trial {
  public:
    Trial(const TestImage& image, const TestCommand& command, const Plan& plan, std::uint64_t seed)
        : image_(image), command_(command), plan_(plan), random_(seed) {}

    Tally run() {
        RecordedFolder files(image_.files);
        const auto change = undisturbed(image_, command_, files);
        if (!change) {
            report("without a crash", change.error().message);
            ++tally_.lost;
        }
        if (!change || !*change) return tally_;
        tally_.images.insert(image_.name);
        tally_.calls = files.log().size();
        walk(**change, files.log());
        return tally_;
    }

  private:
    void walk(const Change& change, const std::vector<FolderCall>& log) {
        std::uint64_t bytes = 0;
        for (const auto& [name, content] : image_.files)
            bytes += content.size();
        thinning_ = bytes > large_bytes ? 8 : 1;
        if (!plan_.is_long) thinning_ *= std::max<std::size_t>(1, log.size() * 3 / states_in_short);
        for (CrashStates states(image_.files, log);; states.advance()) {
            for (const Survivors& survivors : survivors_at(states)) {
                // each process dies somewhere, so all prefixes are tried; of the rest what there is time for
                const bool is_prefix = survivors.kind == Survivors::Kind::all && plan_.is_long;
                if (!is_prefix && random_() % thinning_ != 0) continue;
                if (plan_.is_over()) return;
                try_state(change, states, survivors);
            }
            if (states.at_end()) return;
        }
    }

    std::vector<Survivors> survivors_at(const CrashStates& states) {
        using Kind = Survivors::Kind;
        std::vector<Survivors> all{{Kind::all, 0}};
        if (states.pending() == 0) return all;
        all.push_back({Kind::torn, 0});
        const std::uint64_t rounds = plan_.is_long ? plan_.rounds : 1;
        for (std::uint64_t round = 0; round < rounds; ++round) {
            all.push_back({Kind::sectors, 0});
            all.push_back({Kind::calls, 0});
        }
        const std::size_t chosen = plan_.is_long ? std::min(states.pending(), systematic_max) : 1;
        for (std::size_t i = 0; i < chosen; ++i) {
            const std::size_t which =
                states.pending() <= systematic_max && plan_.is_long ? i : random_() % states.pending();
            all.push_back({Kind::all_but, which});
            all.push_back({Kind::only, which});
        }
        return all;
    }

    // Equal states count, and are looked at, once.
    bool is_new(const Folder& folder) {
        std::size_t hash = 0;
        for (const auto& [name, content] : folder) {
            const std::string_view bytes(reinterpret_cast<const char*>(content.data()), content.size());
            hash = hash * 31 + std::hash<std::string_view>()(bytes);
        }
        return seen_.insert(hash).second;
    }

    void try_state(const Change& change, const CrashStates& states, const Survivors& survivors) {
        const Folder folder = states.state(survivors, random_);
        if (!is_new(folder)) return;
        ++tally_.states;
        Verdict verdict = judge(folder, change, random_());
        const bool asks_qemu = image_.health != Health::damaged &&
                               random_() % (plan_.is_long ? qemu_every : qemu_every_in_short) == 0;
        if (asks_qemu) {
            ++tally_.by_qemu;
            const std::string said =
                qemu_.findings(folder, image_.health == Health::dirty || verdict.copied_flags != 0);
            if (verdict.corrupt.empty()) verdict.corrupt = said;
        }
        tally_.leaks += verdict.leaks;
        tally_.with_flags += verdict.copied_flags != 0 ? 1 : 0;
        tally_.with_leaks += verdict.leaks != 0 ? 1 : 0;
        tally_.corrupt += verdict.corrupt.empty() ? 0 : 1;
        tally_.lost += verdict.lost.empty() ? 0 : 1;
        if (verdict.corrupt.empty() && verdict.lost.empty()) return;
        report(fmt::format("cut behind call {} of {}, survivors {}/{} of {}", states.calls(), tally_.calls,
                           static_cast<int>(survivors.kind), survivors.chosen, states.pending()),
               verdict.corrupt + (verdict.lost.empty() ? "" : " lost: " + verdict.lost));
    }

    void report(const std::string& where, const std::string& what) {
        if (++reports_ > 3) return;
        fmt::print("{} on \"{}\", seed {}, {}: {}\n", command_.name, image_.name, plan_.seed, where, what);
        std::fflush(stdout);
    }

    const TestImage& image_;
    const TestCommand& command_;
    const Plan& plan_;
    std::mt19937_64 random_;
    std::set<std::size_t> seen_;
    QemuCheck qemu_;
    std::size_t thinning_ = 1;
    Tally tally_;
    int reports_ = 0;
};

struct Job {
    const TestImage* image;
    const TestCommand* command;
    std::uint64_t seed;
};

// Some images for each command, or all.
std::vector<Job> jobs_for(const std::vector<TestImage>& images, const std::vector<TestCommand>& commands,
                          const Plan& plan, std::uint64_t seed) {
    std::vector<Job> jobs;
    std::mt19937_64 random(seed);
    for (const TestCommand& command : commands) {
        std::vector<Job> own;
        for (const TestImage& image : images) {
            RecordedFolder files(image.files);
            if (command.fits(image) &&
                (plan.is_long || (command.run(files) && files.content() != image.files)))
                own.push_back({&image, &command, random()});
        }
        std::shuffle(own.begin(), own.end(), random);
        if (!plan.is_long && own.size() > images_in_short) own.resize(images_in_short);
        jobs.insert(jobs.end(), own.begin(), own.end());
    }
    std::shuffle(jobs.begin(), jobs.end(), random);
    return jobs;
}

using Table = std::map<std::string, Tally>;

void run_jobs(const std::vector<Job>& jobs, const Plan& plan, Table& table) {
    std::atomic<std::size_t> next = 0;
    std::mutex mutex;
    const auto work = [&] {
        for (std::size_t i; (i = next++) < jobs.size() && !plan.is_over();) {
            const Tally tally = Trial(*jobs[i].image, *jobs[i].command, plan, jobs[i].seed).run();
            const std::lock_guard lock(mutex);
            table[jobs[i].command->name].add(tally);
        }
    };
    std::vector<std::jthread> threads;
    for (unsigned i = plan.is_long ? std::thread::hardware_concurrency() : 1; i > 1; --i)
        threads.emplace_back(work);
    work();
}

Tally print_table(const std::vector<TestCommand>& commands, const Table& table) {
    constexpr auto form = "{:38} {:>6} {:>7} {:>9} {:>9} {:>10} {:>6} {:>8} {:>7} {:>5}\n";
    const auto line = [&](const std::string& name, const Tally& tally) {
        fmt::print(form, name, tally.images.size(), tally.calls, tally.states, tally.with_leaks, tally.leaks,
                   tally.with_flags, tally.by_qemu, tally.corrupt, tally.lost);
    };
    fmt::print(form, "command", "images", "calls", "states", "leaking", "clusters", "flags", "qemu-img",
               "corrupt", "lost");
    Tally sum;
    for (const TestCommand& command : commands) {
        const auto found = table.find(command.name);
        line(command.name, found == table.end() ? Tally() : found->second);
        if (found != table.end()) sum.add(found->second);
    }
    line("all", sum);
    std::fflush(stdout);
    return sum;
}

Plan plan_from_environment() {
    Plan plan;
    plan.seed = from_environment("QIMG_SEED", 1);
    plan.is_long = from_environment("QIMG_LONG", 0) != 0;
    plan.rounds = from_environment("QIMG_ROUNDS", 2);
    const std::uint64_t minutes = from_environment("QIMG_MINUTES", 0);
    if (minutes != 0) plan.until = std::chrono::steady_clock::now() + std::chrono::minutes(minutes);
    return plan;
}

}  // namespace

TEST_CASE("a command that is cut anywhere leaves the old or the new content") {
    Plan plan = plan_from_environment();
    const std::vector<TestImage> images = test_images();
    const std::vector<TestCommand> commands = test_commands();
    Table table;
    do {
        run_jobs(jobs_for(images, commands, plan, plan.seed), plan, table);
        ++plan.seed;
    } while (plan.until && !plan.is_over());
    const Tally sum = print_table(commands, table);
    CHECK(sum.corrupt == 0);
    CHECK(sum.lost == 0);
    for (const TestCommand& command : commands) {
        CAPTURE(command.name);
        CHECK((plan.until || table[command.name].states != 0));
    }
}
