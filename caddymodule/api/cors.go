package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// origins are those of the web pages that may use the API (Fetch standard, HTTP-CORS
// protocol). Callers authenticate by a token of their own, so no cookies are allowed
// along.
type origins map[string]struct{}

// preflightMaxAge is how long a browser may remember what is allowed, in seconds.
const preflightMaxAge = "600"

// parseOrigins checks an allow-list, whose entries are as browsers spell them (HTML
// standard, serialization of an origin): with others nothing would ever match.
func parseOrigins(list []string) (origins, error) {
	if len(list) == 0 {
		return nil, nil
	}
	allowed := make(origins, len(list))
	for _, origin := range list {
		u, err := url.Parse(origin)
		usualPort := err == nil && (u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80")
		if err != nil || usualPort || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+strings.ToLower(u.Host) != origin {
			return nil, fmt.Errorf("cors_origins: '%s' is not an origin such as https://app.example.com", origin)
		}
		allowed[origin] = struct{}{}
	}
	return allowed, nil
}

// allow reports whether the request comes from a page that may use the API, and says
// so in the response.
func (o origins) allow(w http.ResponseWriter, r *http.Request) bool {
	if o == nil {
		return false
	}
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if _, allowed := o[origin]; !allowed {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", "ETag, Retry-After")
	return true
}

// isPreflight reports whether a browser asks before it sends a request.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// answerPreflight allows the methods that there are, and the header fields asked for:
// a page on the list may send what it likes.
func (o origins) answerPreflight(w http.ResponseWriter, r *http.Request, methods string) {
	header := w.Header()
	header.Set("Access-Control-Allow-Methods", methods)
	var names []string
	for name := range strings.SplitSeq(r.Header.Get("Access-Control-Request-Headers"), ",") {
		if name = strings.TrimSpace(name); httpguts.ValidHeaderFieldName(name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		header.Set("Access-Control-Allow-Headers", strings.Join(names, ", "))
	}
	header.Add("Vary", "Access-Control-Request-Headers")
	header.Set("Access-Control-Max-Age", preflightMaxAge)
	w.WriteHeader(http.StatusNoContent)
}
