// Sandboxes: a virtual machine from a base image to a login prompt in one call, and back to clean in another.
//
// A sandbox is a folder (overlay, seed, console log, and the record of what it was made from) and, while it
// runs, a transient libvirt domain. The base image is only ever read. Not part of libqimg, but of libqimg_vm,
// because it links libvirt and the seed library.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/seed.hpp"
#include "qimg/size_text.hpp"
#include "qimg/units.hpp"

namespace qimg::vm {

enum class Accel {
    automatic,  // KVM where a kernel really boots under it, otherwise TCG
    kvm,
    tcg,
};
enum class SeedBus {
    virtio,  // a read-only virtio disk
    scsi,    // a CD-ROM on virtio-scsi
};

// A TCP port of this machine (on 127.0.0.1) that leads to one of the guest's.
struct Forward {
    std::uint16_t host_port = 0;
    std::uint16_t guest_port = 0;
};
// "8080:80". Errors: invalid_argument.
Result<Forward> parse_forward(std::string_view text);

// Where sandboxes are kept and which libvirt runs them. Empty: see default_connection, default_folder.
struct Place {
    std::string connection;  // a libvirt URI of this machine
    std::string folder;      // holds one folder per sandbox
};
// LIBVIRT_DEFAULT_URI, otherwise qemu:///system for root and qemu:///session for everybody else.
std::string default_connection();
// VMBOX_DIR, otherwise /var/lib/vmbox for root under a system connection, and for everybody else
// $XDG_DATA_HOME/vmbox or ~/.local/share/vmbox.
std::string default_folder(const std::string& connection);

struct Machine {
    std::uint64_t memory_bytes = GiB;
    unsigned cpus = 2;
    std::string
        network;  // "user", "none" or a libvirt network; empty: "default" if that is active, or else user
    std::vector<Forward> forwards;  // need the network "user"
    SeedBus seed_bus = SeedBus::virtio;
};

// What a sandbox is made from.
struct NewSandbox {
    std::string base;
    std::optional<std::string> base_format;  // absent: told by the first bytes
    std::optional<SizeChange> disk;          // relative to the base's size; absent: the base's size
    bool expand = false;  // the partition and the file system grow with it, before the guest starts
    Machine machine;
    SeedOptions seed;  // an empty hostname becomes the sandbox's name
};

// How far `up` and `reset` follow the guest.
enum class Until {
    started,     // the domain runs
    console,     // the guest printed something on its serial console
    login,       // a login prompt
    cloud_init,  // cloud-init says that it is finished
    ready,       // a login prompt and, where cloud-init was seen at work, its end
    off,         // the guest powered itself off
};

struct WaitOptions {
    Until until = Until::ready;
    std::chrono::seconds timeout{600};
    Accel accel = Accel::automatic;
};

enum class Stage { created, started, console, kernel, login, cloud_init, off };
std::string_view stage_text(Stage stage);

// Told what happens while a call works, in the caller's thread.
class Observer {
  public:
    virtual ~Observer() = default;
    virtual void stage(Stage reached, const std::string& detail) = 0;
    virtual void warning(const std::string& message) = 0;
    // Now and then while waiting; `last_line` is the console's, safe to print.
    virtual void waiting(std::chrono::milliseconds since_start, const std::string& last_line) = 0;
    // The console's last lines, safe to print, when a guest did not come as far as it should.
    virtual void console_tail(const std::vector<std::string>& lines) = 0;
    // True ends a call: before the domain runs everything is undone, afterwards the domain goes on.
    virtual bool cancelled() const = 0;
};

struct UpOptions {
    std::string name;
    Place place;
    std::optional<NewSandbox> create = {};  // absent: start a stopped sandbox again
    WaitOptions wait = {};
};

struct UpReport {
    std::string folder;
    Stage reached = Stage::created;
    Accel accel = Accel::automatic;  // what it runs with in the end
    bool was_running = false;        // nothing was to do
    bool interrupted = false;        // the observer cancelled while the guest was booting; it still runs
    std::optional<std::string> address;
    std::chrono::milliseconds until_started{0};  // from the call to the running domain
    std::chrono::milliseconds total{0};
};

// Makes and starts a sandbox, or starts a stopped one, and waits for its guest. All checks come before the
// first file; when the domain does not start, nothing is left behind. When the guest does not come as far as
// asked, it is left as it is, for a look at it. Errors: exists, not_found, in_use, invalid_argument,
// read_only (QEMU's user cannot reach a file), no_space, cancelled, io (libvirt, or the guest).
Result<UpReport> up(const UpOptions& options, Observer& observer);

// The domain that `up` would start. Connects to nothing and writes nothing.
Result<std::string> planned_xml(const UpOptions& options);
// The domain that a sandbox was last started with.
Result<std::string> sandbox_xml(const std::string& name, const Place& place);

struct Listed {
    std::string name;
    std::string state;  // "running", "off", … or "unknown" when its libvirt does not answer
    std::string base;
    std::uint64_t disk_bytes = 0;       // as the guest sees it
    std::uint64_t allocated_bytes = 0;  // disk space in use by the overlay
    std::string connection;
    std::string folder;
    std::string created;  // ISO 8601, UTC
    std::optional<std::chrono::seconds> uptime;
    std::optional<std::string> address;
};
// All sandboxes of the place, by name; with a connection in `place`, only those of that connection.
Result<std::vector<Listed>> list(const Place& place, Observer& observer);

struct StopOptions {
    std::string name;
    Place place;
    bool force = false;                // switch off at once
    std::chrono::seconds timeout{60};  // for the guest to shut down by itself
};
struct StopReport {
    bool was_off = false;
    bool forced = false;  // the guest did not shut down by itself
};
Result<StopReport> stop(const StopOptions& options, Observer& observer);

struct ResetOptions {
    std::string name;
    Place place;
    bool start = true;
    WaitOptions wait = {};
};
// Puts a fresh overlay in the place of the old one in a single step, with the same seed.
Result<UpReport> reset(const ResetOptions& options, Observer& observer);

struct RemoveOptions {
    std::string name;
    Place place;
    bool force = false;  // also files that are not the sandbox's own
};
// Switches the domain off and removes the sandbox's folder. Follows no symbolic link. Errors: exists when the
// folder holds other files, in_use when another sandbox stands on this one's disk.
Result<void> remove(const RemoveOptions& options, Observer& observer);

struct ConsoleOptions {
    std::string name;
    Place place;
    int input = 0;  // file descriptors; a terminal is put in raw mode meanwhile
    int output = 1;
    bool force = false;  // take the console from somebody else
};
// Connects both ways until Ctrl-], the guest's end, or cancelled(). At the end of an input that is no
// terminal it goes on printing.
Result<void> console(const ConsoleOptions& options, Observer& observer);

// Everything that the guest printed on its serial console since its last start.
Result<std::string> console_log(const std::string& name, const Place& place);

}  // namespace qimg::vm
