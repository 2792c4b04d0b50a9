// Package jwt makes JSON Web Tokens (RFC 7519), signed (RFC 7515), of credentials.
//
// No error of this package holds a key or another value of a credential.
package jwt
