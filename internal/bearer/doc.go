// Package bearer verifies the bearer tokens (RFC 6750) with which callers of the
// credentials API say who they are: JSON Web Tokens (RFC 7519), signed with a
// shared secret or with a key of a JWK set (RFC 7517), and checked as the best
// current practice (RFC 8725) asks for.
//
// Nothing that a token says about its own verification is believed: the
// algorithms come from the configuration and the keys from one source, and each
// key counts only for the algorithms that it is made for. No error of this package
// holds a part of a token, a secret, or text that a key server sent.
package bearer
