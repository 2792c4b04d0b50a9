package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// TenantNames say by what requests name their tenant. None of it is sent on: the
// upstream has no business with our customers' names.
type TenantNames struct {
	Headers    []string // canonical names of header fields, those included by which a request may use its tenant; the proxy's logs don't see them either
	Parameters []string // names in the query
	Cookies    []string

	// Fixed says that all requests are one tenant's.
	Fixed bool
}

// cookiesPass reports whether cookies pass between the app and the upstream.
func (s *Settings) cookiesPass() bool { return s.NamedBy.Fixed || s.PassCookies }

// answersDiffer reports whether one request's answer may not be another's.
func (s *Settings) answersDiffer() bool { return !s.NamedBy.Fixed || len(s.NamedBy.Headers) > 0 }

// isForwarding reports whether a field says who a request was forwarded for.
func isForwarding(name string) bool {
	return strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "Via"
}

// removeCookie takes a cookie out of those that a client sends (RFC 6265 section 4.2.1),
// in any case: Caddy's placeholders have them so.
func removeCookie(header http.Header, name string) {
	lines := header["Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for cookie := range strings.SplitSeq(line, ";") {
			cookie = strings.TrimSpace(cookie)
			if n, _, _ := strings.Cut(cookie, "="); cookie != "" && !strings.EqualFold(strings.Trim(n, " \t\""), name) {
				kept = append(kept, cookie)
			}
		}
	}
	if len(kept) == 0 {
		delete(header, "Cookie")
		return
	}
	header["Cookie"] = []string{strings.Join(kept, "; ")}
}

// nearSuffixes are those of names that are not of the public internet: RFC 6761, RFC
// 6762, RFC 8375, ICANN's private-use domain, and Kubernetes' default.
var nearSuffixes = []string{".localhost", ".local", ".internal", ".home.arpa", ".svc", ".lan"}

// nearness says whether a host is near.
type nearness struct {
	host string
	near bool
}

// isNear is the function of that name. As a rule the next request goes to the same host.
func (s *Settings) isNear(host string) bool {
	last := s.lastNear.Load()
	if last == nil || last.host != host {
		last = &nearness{host, isNear(host)}
		s.lastNear.Store(last)
	}
	return last.near
}

// isNear reports whether a host is this machine, or one of a private network.
func isNear(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(name, "[]")
	if strings.Contains(name, ":") || name != "" && '0' <= name[len(name)-1] && name[len(name)-1] <= '9' {
		if addr, err := netip.ParseAddr(name); err == nil {
			addr = addr.Unmap()
			return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast()
		}
	}
	if name != "" && '0' <= name[0] && name[0] <= '9' {
		if _, err := strconv.ParseUint(name, 0, 64); err == nil {
			return false // an address to some resolvers, and nobody's name
		}
	}
	name = strings.TrimSuffix(name, ".")
	if !strings.Contains(name, ".") || strings.Contains(name, "/") { // a socket
		return true
	}
	for _, suffix := range nearSuffixes {
		if len(name) > len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix) {
			return true
		}
	}
	return false
}

// guardAnswer keeps caches and browsers between the app and us from giving one tenant
// what is another's: they see requests that differ in the tenant's name alone.
func (x *Exchange) guardAnswer(res *http.Response) {
	if !x.answersDiffer() {
		return
	}
	added := x.Answer
	if added == nil {
		added = res.Header
	}
	for _, name := range x.NamedBy.Headers {
		x.vary(res.Header, added, name)
	}
	if len(x.NamedBy.Cookies) > 0 {
		x.vary(res.Header, added, "Cookie")
	}
	x.makePrivate(res, added)
}

// isForSomeCaches reports whether a field comes before Cache-Control for some caches (RFC
// 9213).
func isForSomeCaches(name string) bool {
	return strings.HasSuffix(name, "-Cache-Control") || name == "Surrogate-Control"
}

// vary says in added that an answer depends on a field of the request, if it does not say so
// itself.
func (x *Exchange) vary(header, added http.Header, name string) {
	if varies(header["Vary"], name) || varies(added["Vary"], name) {
		return
	}
	if known := added["Vary"]; len(known) > 0 {
		added["Vary"] = append(known[:len(known):len(known)], name)
		return
	}
	x.added[0] = name
	added["Vary"] = x.added[:1:1]
}

// varies reports whether an answer is known to depend on a field of the request.
func varies(vary []string, name string) bool {
	return httpguts.HeaderValuesContainsToken(vary, name) || httpguts.HeaderValuesContainsToken(vary, "*")
}

// makePrivate keeps shared caches from storing an answer, if they might (RFC 9111 sections
// 3 and 5.2.2.7). What the answer does not say itself goes to added.
func (x *Exchange) makePrivate(res *http.Response, added http.Header) {
	lines := res.Header["Cache-Control"]
	explicit := len(res.Header["Expires"]) > 0
	if len(lines) == 0 { // as good as always
		if explicit || isHeuristicallyCacheable(res) {
			x.added[1] = "private"
			added["Cache-Control"] = x.added[1:]
		}
		return
	}
	var kept []string
	stored, changed := true, false
	for _, line := range lines {
		for directive := range directivesOf(line) {
			name, fields, _ := strings.Cut(directive, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "no-store":
				stored = false
				kept = append(kept, directive)
			case "private":
				if fields == "" {
					return
				}
				changed = true
			case "public", "s-maxage":
				explicit, changed = true, true
			case "must-understand": // with it some caches take no notice of no-store
				changed = true
			case "max-age":
				explicit = true
				kept = append(kept, directive)
			default:
				kept = append(kept, directive)
			}
		}
	}
	switch {
	case !stored && changed:
		res.Header["Cache-Control"] = []string{strings.Join(kept, ", ")}
	case stored && (explicit || isHeuristicallyCacheable(res)):
		res.Header["Cache-Control"] = []string{strings.Join(append([]string{"private"}, kept...), ", ")}
	}
}

// isHeuristicallyCacheable reports whether caches may store an answer that says nothing
// of it (RFC 9110 sections 9.2.3 and 15.1).
func isHeuristicallyCacheable(res *http.Response) bool {
	if method := res.Request.Method; method != "" && method != http.MethodGet && method != http.MethodHead {
		return false
	}
	switch res.StatusCode {
	case http.StatusOK, http.StatusNonAuthoritativeInfo, http.StatusNoContent, http.StatusPartialContent, http.StatusMultipleChoices,
		http.StatusMovedPermanently, http.StatusPermanentRedirect, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone,
		http.StatusRequestURITooLong, http.StatusNotImplemented:
		return true
	}
	return false
}

// directivesOf returns the parts of a list header, whose values may be in quotes.
func directivesOf(line string) func(func(string) bool) {
	return func(yield func(string) bool) {
		quoted, start := false, 0
		for i := 0; i <= len(line); i++ {
			switch {
			case i < len(line) && line[i] == '"':
				quoted = !quoted
			case i+1 < len(line) && line[i] == '\\' && quoted:
				i++
			case i >= len(line) || line[i] == ',' && !quoted:
				if part := strings.TrimSpace(line[start:i]); part != "" && !yield(part) {
					return
				}
				start = i + 1
			}
		}
	}
}
