// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_LOG_H
#define DAEMONS_LOG_H

/* One line on stderr with time and level; never with a user's key or value. */
__attribute__((format(printf, 2, 3))) void node_log(const char *level, const char *format, ...);

#endif
