// Package login renews credentials at servers that speak no OAuth 2.0: something is sent,
// and a token taken out of the answer. It knows how the requests are made of the
// credential, and where in the answer things lie.
package login
