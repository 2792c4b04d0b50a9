// Package oauth2 refreshes credentials by OAuth 2.0: it knows where the tokens lie in
// the document and in the token endpoint's answer, and how the client authenticates.
package oauth2
