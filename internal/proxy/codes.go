package proxy

// RetryAfter is what a client is asked to wait for the store, or for others, in seconds.
const RetryAfter = "2"

// StatusClientClosedRequest is what Caddy logs for a client that went away.
const StatusClientClosedRequest = 499

// Response headers in which the proxy speaks for itself. They are removed from
// what an upstream sends.
const (
	// HeaderError carries a [Code]: why a request could not be authenticated.
	HeaderError = "Upstream-Auth-Error"

	// HeaderReplay says why a request was not sent again:
	// "skipped; reason=" and one of body-too-large, recording-failed, recording-limit,
	// body-not-recorded, not-matched.
	HeaderReplay = "Upstream-Auth-Replay"
)

// Code is what [HeaderError] says.
type Code string

// The codes, with the status they come with.
const (
	CodeTenantMissing           Code = "tenant_missing"           // 400
	CodeTenantInvalid           Code = "tenant_invalid"           // 400
	CodeTenantUnknown           Code = "tenant_unknown"           // 403: no credential, or not allowed
	CodeMethodNotAllowed        Code = "method_not_allowed"       // 405
	CodeCredentialInvalid       Code = "credential_invalid"       // 502
	CodeHostNotAllowed          Code = "host_not_allowed"         // 502; 403 of the forward proxy
	CodeBodyTooLarge            Code = "body_too_large"           // 413: it is to be signed, and is longer than replay_max_body
	CodeStoreUnavailable        Code = "store_unavailable"        // 503, with Retry-After
	CodeTooManyRequests         Code = "too_many_requests"        // 429 or, if it is not the tenant's own budget, 503, with Retry-After; or the upstream's own answer
	CodeRateLimited             Code = "rate_limited"             // 429, with Retry-After: the upstream has asked to wait
	CodeProxyCredentials        Code = "proxy_authentication"     // 407: of the forward proxy, whose user or password is missing or wrong
	CodeNoProxyRequest          Code = "no_proxy_request"         // 400: of the forward proxy, a request that is for a server
	CodeMisdirected             Code = "misdirected"              // 421: a request with another Host than the connection was made for
	CodeRefreshFailed           Code = "refresh_failed"           // the upstream's own answer; 503, with Retry-After, if there was no token to ask it with
	CodeReauthorizationRequired Code = "reauthorization_required" // the upstream's own answer; 401 if there was no token to ask it with
)
