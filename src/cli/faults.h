/* What is left to do when a mapped file turns out to have been cut: say so, and end. */
#ifndef PENSIEVE_CLI_FAULTS_H
#define PENSIEVE_CLI_FAULTS_H

/* From now on a fault inside a file map (base/file_map.h) ends the process with one line that names
 * the file, and exit code 1; any other fault ends it as ever. */
void faults_install(void);

#endif
