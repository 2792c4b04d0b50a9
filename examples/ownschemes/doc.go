// Package ownschemes shows how authentication schemes are written in a module of one's own:
// [APIKey] is the smallest one that is complete, [Signature] signs the body, and [Session]
// renews its credentials at a server that speaks no OAuth 2.0.
//
// It needs Caddy and two packages of the sidecar's: scheme, which it implements, and
// credential, which it is given.
package ownschemes
