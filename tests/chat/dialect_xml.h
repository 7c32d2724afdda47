/* A dialect for tests alone. Its row is handed to whoever would be handed dialects_known. */
#ifndef PENSIEVE_TESTS_CHAT_DIALECT_XML_H
#define PENSIEVE_TESTS_CHAT_DIALECT_XML_H

#include "chat/dialect.h"

extern const struct dialect dialect_xml;

#endif
