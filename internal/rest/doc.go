// Package rest answers requests for the credential of a tenant over HTTP: what the
// credentials API and the administration API have in common, once it is known who asks and
// what they may do. No answer has a secret in it.
package rest
