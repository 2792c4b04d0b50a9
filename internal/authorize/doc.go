// Package authorize finds out whether whoever makes a request may use the tenant that it
// names: by a bearer token, a client certificate, the tenant's own secret, or the process
// at the other end of a Unix socket.
//
// A refusal is [credential.ErrNotFound], so that nobody learns which tenants there are.
package authorize
