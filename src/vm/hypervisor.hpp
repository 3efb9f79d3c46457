// Hypervisor: one libvirt connection and the domains on it. Knows libvirt's calls; nothing of sandboxes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "qimg/error.hpp"
#include "vm/host_facts.hpp"
#include "vm/libvirt_handles.hpp"

namespace qimg::vm {

// Why a domain went away, as far as somebody watched.
enum class Ending {
    guest_off,  // the guest powered itself off, or followed a request to
    destroyed,  // switched off from outside
    crashed,    // the guest or QEMU failed
};

struct DomainStatus {
    bool active = false;
    std::string text;          // "running", "paused (I/O error)"
    bool broken = false;       // QEMU stopped the guest because it could not go on
    bool disk_failed = false;  // … because of an I/O error
};

// True when the URI names libvirt on another machine, which cannot see this one's files.
bool is_remote(const std::string& uri);
// True for the connection that all users of the machine share (…/system).
bool is_system(const std::string& uri);

class Domain {
  public:
    explicit Domain(DomainHandle handle) : handle_(std::move(handle)) {}

    virDomainPtr handle() const { return handle_.get(); }
    std::string uuid() const;
    Result<DomainStatus> status() const;
    // Asks the guest to shut down, as its power button does.
    Result<void> request_shutdown() const;
    // Switches off. A domain that is gone already is no error.
    Result<void> destroy() const;
    // The first IPv4 address that libvirt's DHCP server or the ARP table know.
    std::optional<std::string> address() const;

  private:
    DomainHandle handle_;
};

class Hypervisor {
  public:
    // Errors: invalid_argument for a URI of another machine; not_found when nobody answers, with a remedy.
    static Result<Hypervisor> connect(const std::string& uri);
    Hypervisor(Hypervisor&&) = default;
    Hypervisor& operator=(Hypervisor&&) = default;
    ~Hypervisor();

    const std::string& uri() const { return uri_; }
    virConnectPtr handle() const { return connection_.get(); }
    Result<HostFacts> host_facts() const;
    // False also when there is no such network.
    bool network_is_active(const std::string& name) const;

    // Starts a domain that libvirt forgets when it ends.
    Result<Domain> start(const std::string& name, const std::string& xml) const;
    Result<std::optional<Domain>> find_by_uuid(const std::string& uuid) const;
    Result<std::optional<Domain>> find_by_name(const std::string& name) const;

    // Handles libvirt's events until one of a domain's end came, at most for `timeout`.
    void wait(std::chrono::milliseconds timeout) const;
    // How the domain ended during a wait(); nullopt while it has not.
    std::optional<Ending> ending(const std::string& uuid) const;
    void forget_ending(const std::string& uuid) const;

  private:
    struct Endings {
        std::map<std::string, Ending> by_uuid;
        bool news = false;
    };
    Hypervisor(ConnectionHandle connection, std::string uri);
    static void on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail,
                             void* endings);

    std::string uri_;
    std::unique_ptr<Endings> endings_;  // libvirt's callback holds its address
    ConnectionHandle connection_;
    int callback_ = -1;
};

}  // namespace qimg::vm
