// libvirt's handles as owned values, and its errors as ours. The only place where a virError is looked at.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "qimg/error.hpp"

namespace qimg::vm {

struct HandleDeleter {
    void operator()(virConnectPtr connection) const { virConnectClose(connection); }
    void operator()(virDomainPtr domain) const { virDomainFree(domain); }
    void operator()(virNetworkPtr network) const { virNetworkFree(network); }
    void operator()(virStreamPtr stream) const { virStreamFree(stream); }
    void operator()(char* text) const { std::free(text); }
};
using ConnectionHandle = std::unique_ptr<virConnect, HandleDeleter>;
using DomainHandle = std::unique_ptr<virDomain, HandleDeleter>;
using NetworkHandle = std::unique_ptr<virNetwork, HandleDeleter>;
using StreamHandle = std::unique_ptr<virStream, HandleDeleter>;
using TextHandle = std::unique_ptr<char, HandleDeleter>;

// libvirt's last error in this thread as "SUBJECT: DOING: MESSAGE", on one line.
std::unexpected<Error> fail_libvirt(std::string_view subject, std::string_view doing);

// libvirt's code for the last error in this thread (VIR_ERR_…).
int last_libvirt_code();

// Keeps libvirt from printing errors itself and sets its event loop up. Safe to call often.
void prepare_libvirt();

}  // namespace qimg::vm
