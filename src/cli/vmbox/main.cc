// vmbox: the commands and their order.
// SPDX-License-Identifier: Apache-2.0
#include "cli/vmbox/command.hpp"

int main(int argc, char** argv) {
    using namespace qimg::vmbox;
    return run_program(argc, argv,
                       {{"up", "Make a sandbox and start it, or start a stopped one", add_up},
                        {"ls", "List the sandboxes", add_ls},
                        {"console", "Connect to the serial console; Ctrl-] leaves", add_console},
                        {"log", "Print what the guest wrote on its console since its start", add_log},
                        {"stop", "Shut a guest down; its disk is kept", add_stop},
                        {"reset", "Give a sandbox a fresh disk and start it again", add_reset},
                        {"rm", "Switch sandboxes off and remove them, disks and all", add_rm},
                        {"xml", "Print the libvirt domain of a sandbox", add_xml}},
                       "  vmbox up web --image debian-12.qcow2 --disk +20G --password secret\n"
                       "  vmbox console web\n"
                       "  vmbox reset web\n"
                       "  vmbox rm web");
}
