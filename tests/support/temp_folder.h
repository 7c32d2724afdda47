/* A folder of a test's own that is gone when the test has ended: setup and teardown for cmocka. */
#ifndef PENSIEVE_TESTS_SUPPORT_TEMP_FOLDER_H
#define PENSIEVE_TESTS_SUPPORT_TEMP_FOLDER_H

extern char temp_folder[]; /* its path, between the two */

int temp_folder_make(void **state);
int temp_folder_remove(void **state);

#define TEST_IN_TEMP_FOLDER(test)                                                                  \
    cmocka_unit_test_setup_teardown(test, temp_folder_make, temp_folder_remove)

#endif
