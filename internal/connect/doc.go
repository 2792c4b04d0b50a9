// Package connect lets an end user connect an account: the authorization
// code grant of OAuth 2.0 (RFC 6749 section 4.1) with PKCE (RFC 7636, always
// S256), the issuer check of RFC 9207, the advice of RFC 9700, and discovery by
// OpenID Connect or RFC 8414. It knows neither stores nor Caddy: what was granted
// goes to [Config].Accept.
//
//	[Flow.Link] ──▶ https://h/oauth/connect?link=…        start.go
//	                     │ 303, cookie
//	                     ▼
//	              authorization endpoint
//	                     │ 303 by the browser
//	                     ▼
//	                https://h/oauth/callback?code&state   callback.go
//	                     ├── token endpoint               exchange.go
//	                     ├── id token, userinfo           idtoken.go, userinfo.go
//	                     └── Accept                       a page, or return_to
//
// No replica keeps a session. What has to come back is sealed (seal.go): in the
// link (link.go) the tenant, in the state (state.go) that and all that the callback
// needs. The state belongs to one browser, which has its cookie (cookie.go).
//
// # What is used up, and where
//
// A link can be opened until an account was connected with it: what scans mail
// opens links too. A state is good for one callback. Both are remembered in the
// process that saw them (used.go). Another replica, or one that was started anew,
// does not know of it: there a used link can be opened again until it expires. A
// callback that is repeated there still needs the browser's cookie, which the first
// one took away, and gets nothing for a code that the authorization server takes
// once (RFC 6749 section 4.1.2).
//
// Whoever has a link connects an account to its tenant, as with a link that resets
// a password. It is for the eyes of the person that it is made for.
package connect
