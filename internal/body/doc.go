// Package body records a client's request body while it is sent, so that it can be sent
// once more.
package body
