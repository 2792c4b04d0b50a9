// Package scheme applies a credential to a request: as headers, query
// parameters and HTTP Basic authentication, each a template over the credential,
// and as an OAuth 2.0 access token, for which it also knows where the tokens lie
// in the document and in the token endpoint's answer.
//
// What can fail is done by [Scheme.Resolve], before anything is sent;
// [Values.Apply] cannot fail. No error of this package holds a value.
package scheme
