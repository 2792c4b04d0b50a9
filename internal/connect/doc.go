// Package connect lets an end user connect an account: the authorization
// code grant of OAuth 2.0 (RFC 6749 section 4.1) with PKCE (RFC 7636, always
// S256), the issuer check of RFC 9207, the advice of RFC 9700, and discovery by
// OpenID Connect or RFC 8414. It knows neither stores nor Caddy: what was granted
// goes to [Config].Accept. So does what a person types where there is nothing to sign
// in at: then the link's page is a form (formpage.go), which ends it all (fill.go, and
// trouble.go if something is wrong).
//
//	[Flow.Link] ──▶ https://h/oauth/connect?link=…        start.go: a page asks
//	                     │ POST of its form, 303           form.go, cookie.go
//	                     ▼
//	              authorization endpoint
//	                     │ 303 by the browser
//	                     ▼
//	                https://h/oauth/callback?code&state   callback.go
//	                     ├── token endpoint               exchange.go
//	                     ├── id token, userinfo           idtoken.go, userinfo.go
//	                     └── Accept                       a page, or return_to
//
// No replica keeps a session. What becomes of links and of attempts at using them is in
// the store, where every replica sees it (package links). What has to come back is sealed:
// in the link (link.go) where it is registered, in the state (state.go) that and all that
// the callback needs. The state belongs to one browser, which has its cookie (cookie.go).
//
// # What is used up
//
// A link can be opened until an account was connected with it, and opening it does
// nothing: what scans mail opens links too, and so does an image in another site's page.
// A state is good for one callback. Whoever has a link connects an account to its tenant,
// as with a link that resets a password; if it wants a handoff code or a certain account
// (account.go), with these alone.
package connect
