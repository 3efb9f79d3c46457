// An interactive console: a terminal (or a pipe) on one side, the guest's serial line on the other.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "base/text.hpp"
#include "base/try.hpp"
#include "vm/open_sandbox.hpp"

namespace qimg::vm {

namespace {

using namespace std::chrono_literals;

constexpr char escape_key = 0x1d;  // Ctrl-]
constexpr auto poll_interval = 100ms;

// Raw mode while it lives, so that every key but the escape reaches the guest.
class RawTerminal {
  public:
    explicit RawTerminal(int descriptor) : descriptor_(descriptor) {
        if (!::isatty(descriptor) || ::tcgetattr(descriptor, &before_) != 0) return;
        struct termios raw = before_;
        ::cfmakeraw(&raw);
        changed_ = ::tcsetattr(descriptor, TCSAFLUSH, &raw) == 0;
    }
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;
    ~RawTerminal() {
        if (changed_) ::tcsetattr(descriptor_, TCSAFLUSH, &before_);
    }

  private:
    int descriptor_;
    struct termios before_ = {};
    bool changed_ = false;
};

// The stream's two directions. libvirt's callbacks only note what is ready; run() moves the bytes.
class Bridge {
  public:
    Bridge(const Hypervisor& hypervisor, StreamHandle stream, const ConsoleOptions& options)
        : hypervisor_(hypervisor), stream_(std::move(stream)), options_(options) {}
    Bridge(const Bridge&) = delete;
    Bridge& operator=(const Bridge&) = delete;
    ~Bridge() {
        virStreamEventRemoveCallback(stream_.get());
        if (input_watch_ >= 0) virEventRemoveHandle(input_watch_);
        virStreamAbort(stream_.get());
    }

    Result<void> run(const Observer& observer) {
        if (virStreamEventAddCallback(stream_.get(), VIR_STREAM_EVENT_READABLE, on_stream, this, nullptr) !=
            0) {
            return fail_libvirt(options_.name, "cannot watch the console");
        }
        input_watch_ = virEventAddHandle(options_.input, VIR_EVENT_HANDLE_READABLE, on_input, this, nullptr);
        // an ordinary file is always readable, and cannot be polled for
        const bool polled = input_watch_ >= 0;
        while (!done_ && problem_.message.empty() && !observer.cancelled()) {
            if (!polled) read_input();
            send_pending();
            update_watches();
            hypervisor_.wait(poll_interval);
        }
        if (!problem_.message.empty()) return std::unexpected(problem_);
        return {};
    }

  private:
    static constexpr std::size_t pending_bytes_max = 4096;

    static void on_stream(virStreamPtr /*stream*/, int events, void* bridge) {
        static_cast<Bridge*>(bridge)->stream_ready(events);
    }
    static void on_input(int /*watch*/, int /*descriptor*/, int /*events*/, void* bridge) {
        static_cast<Bridge*>(bridge)->read_input();
        static_cast<Bridge*>(bridge)->send_pending();
        static_cast<Bridge*>(bridge)->update_watches();
    }

    void stream_ready(int events) {
        if ((events & VIR_STREAM_EVENT_READABLE) != 0) receive();
        if ((events & VIR_STREAM_EVENT_WRITABLE) != 0) send_pending();
        if ((events & (VIR_STREAM_EVENT_ERROR | VIR_STREAM_EVENT_HANGUP)) != 0) done_ = true;
        update_watches();
    }

    void receive() {
        std::array<char, 4096> piece;
        while (!done_) {
            const int got = virStreamRecv(stream_.get(), piece.data(), piece.size());
            if (got == -2) return;
            if (got <= 0) {
                done_ = true;  // the guest ended
                return;
            }
            write_output(std::string_view(piece.data(), static_cast<std::size_t>(got)));
        }
    }

    void write_output(std::string_view text) {
        while (!text.empty()) {
            const ssize_t put = ::write(options_.output, text.data(), text.size());
            if (put > 0) {
                text.remove_prefix(static_cast<std::size_t>(put));
            } else if (errno == EAGAIN) {
                struct pollfd ready = {options_.output, POLLOUT, 0};
                ::poll(&ready, 1, 100);
            } else if (errno != EINTR) {
                problem_ = fail_errno(errno, options_.name, "cannot print the console").error();
                return;
            }
        }
    }

    void read_input() {
        if (input_ended_ || pending_.size() >= pending_bytes_max) return;
        std::array<char, 1024> piece;
        const ssize_t got = ::read(options_.input, piece.data(), piece.size());
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
        if (got <= 0) {
            input_ended_ = true;
            return;
        }
        const std::string_view text(piece.data(), static_cast<std::size_t>(got));
        const std::size_t escape = ::isatty(options_.input) ? text.find(escape_key) : std::string_view::npos;
        if (escape != std::string_view::npos) done_ = true;
        pending_.append(text.substr(0, escape));
    }

    void send_pending() {
        while (!pending_.empty()) {
            const int put = virStreamSend(stream_.get(), pending_.data(), pending_.size());
            if (put == -2) return;
            if (put < 0) {
                problem_ = fail_libvirt(options_.name, "cannot send to the console").error();
                return;
            }
            pending_.erase(0, static_cast<std::size_t>(put));
        }
    }

    void update_watches() {
        const int wanted = VIR_STREAM_EVENT_READABLE | (pending_.empty() ? 0 : VIR_STREAM_EVENT_WRITABLE);
        virStreamEventUpdateCallback(stream_.get(), wanted);
        const bool listen = !input_ended_ && pending_.size() < pending_bytes_max;
        if (input_watch_ >= 0) virEventUpdateHandle(input_watch_, listen ? VIR_EVENT_HANDLE_READABLE : 0);
    }

    const Hypervisor& hypervisor_;
    StreamHandle stream_;
    const ConsoleOptions& options_;
    int input_watch_ = -1;
    std::string pending_;  // typed, not taken by the guest yet
    bool input_ended_ = false;
    bool done_ = false;
    Error problem_{};
};

}  // namespace

Result<void> console(const ConsoleOptions& options, Observer& observer) {
    const OpenSandbox sandbox = TRY(open_sandbox(options.name, options.place));
    const auto domain = TRY(active_domain(sandbox));
    if (!domain) {
        return failf(ErrorKind::not_found,
                     "{}: not running, so it has no console; start it with 'vmbox up {}'", options.name,
                     options.name);
    }
    StreamHandle stream(virStreamNew(sandbox.hypervisor.handle(), VIR_STREAM_NONBLOCK));
    const unsigned flags = options.force ? VIR_DOMAIN_CONSOLE_FORCE : 0;
    if (!stream || virDomainOpenConsole(domain->handle(), nullptr, stream.get(), flags) != 0) {
        return fail_libvirt(options.name, "cannot open the console");
    }
    const RawTerminal raw(options.input);
    Bridge bridge(sandbox.hypervisor, std::move(stream), options);
    return bridge.run(observer);
}

}  // namespace qimg::vm
