package proxy

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
)

// messages say in one line what a code means. They name neither a tenant nor anything of
// a credential.
var messages = map[Code]string{
	CodeTenantMissing:           "the request names no tenant",
	CodeTenantInvalid:           "the tenant is named more than once, or by a name that is not valid",
	CodeTenantUnknown:           "there is no credential for the tenant, or it is not allowed here",
	CodeMethodNotAllowed:        "TRACE and CONNECT are not sent on",
	CodeCredentialInvalid:       "the tenant's stored credential cannot be used",
	CodeHostNotAllowed:          "the upstream is not among the hosts that the credential may be sent to",
	CodeBodyTooLarge:            "the request is signed with its body, which is too large for that",
	CodeReauthorizationRequired: "the tenant's credential was refused: somebody has to give another one",
	CodeTooManyRequests:         "too much is under way at the same time: try again later",
	CodeRateLimited:             "the API has asked to wait with this tenant's requests: try again later",
	CodeProxyCredentials:        "the proxy asks for a user and a password, and these are missing or wrong",
	CodeNoProxyRequest:          "this is a proxy, and the request is none to a proxy",
	CodeMisdirected:             "the request names another host than the connection is for",
	CodeRefreshFailed:           "no token could be obtained for the tenant: try again later",
	CodeStoreUnavailable:        "the credential cannot be read now: try again later",
}

// problem is a problem details object (RFC 9457).
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   Code   `json:"code"`
}

// Message returns what an answer says of a code, in the form that the request accepts:
// JSON if it asks for that, else text.
func Message(req *http.Request, status int, code Code) (contentType string, body []byte) {
	text := messages[code]
	if code == CodeTenantMissing && req.Method == http.MethodOptions && req.Header.Get("Access-Control-Request-Method") != "" {
		text += ": browsers' preflights have to be answered before upstream_auth"
	}
	if acceptsJSON(req.Header["Accept"]) {
		body, _ = json.Marshal(problem{http.StatusText(status), status, text, code})
		return "application/problem+json", append(body, '\n')
	}
	return "text/plain; charset=utf-8", []byte(string(code) + ": " + text + "\n")
}

func acceptsJSON(accept []string) bool {
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			mediaType, parameters, _ := mime.ParseMediaType(part)
			if q, given := parameters["q"]; given && strings.Trim(q, "0.") == "" { // zero: not acceptable (RFC 9110 section 12.4.2)
				continue
			}
			switch {
			case mediaType == "application/json", strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json"):
				return true
			}
		}
	}
	return false
}
