// The commands of qimg: one function each, in the file of its name.
//
// A command gets its own name as argv[0], prints what it has to say, and returns the exit status.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qimg::cli {

int amend_command(int argc, char** argv);
int bench_command(int argc, char** argv);
int bitmap_command(int argc, char** argv);
int check_command(int argc, char** argv);
int commit_command(int argc, char** argv);
int compare_command(int argc, char** argv);
int convert_command(int argc, char** argv);
int create_command(int argc, char** argv);
int dd_command(int argc, char** argv);
int expand_command(int argc, char** argv);
int info_command(int argc, char** argv);
int map_command(int argc, char** argv);
int measure_command(int argc, char** argv);
int partitions_command(int argc, char** argv);
int rebase_command(int argc, char** argv);
int resize_command(int argc, char** argv);
int rm_command(int argc, char** argv);
int snap_command(int argc, char** argv);
int snapshot_command(int argc, char** argv);
int tree_command(int argc, char** argv);

}  // namespace qimg::cli
