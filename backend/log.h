#ifndef CEPH_LB_LOG_H
#define CEPH_LB_LOG_H

/*
 * One line an event, to standard error: UTC time, level, message. Each line is one write(2), so lines of
 * several threads never mix. Any thread.
 */

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are dropped. Set once, before threads start; LOG_LEVEL_INFO until then. */
void log_set_level(enum log_level level);

/* Control characters in the message are printed as \xHH: what a client sends cannot forge a line. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
