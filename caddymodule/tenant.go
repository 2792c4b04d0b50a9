package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

// defaultTenant is the tenant's template where none is configured.
const defaultTenant = "{http.request.header.X-Tenant-ID}"

// The placeholders by which a client names something, in both spellings.
var (
	headerPlaceholder = regexp.MustCompile(`^(?:http\.request\.)?header\.(.+)$`)
	queryPlaceholder  = regexp.MustCompile(`^(?:http\.request\.uri\.)?query\.(.+)$`)
	cookiePlaceholder = regexp.MustCompile(`^(?:http\.request\.)?cookie\.(.+)$`)
)

// tenantSource says where a request names its tenant.
type tenantSource struct {
	fixed    credential.Tenant // empty: requests name it
	template string
	parts    []tenantPart
	names    proxy.TenantNames
	header   string // the template is this field and nothing else
}

// tenantPart is a placeholder of the template, and what stands before the next one.
type tenantPart struct {
	placeholder string // with its braces
	cookie      string // the cookie that it reads; empty: none
	separator   string // empty: it is the last
}

func newTenantSource(template string) (*tenantSource, error) {
	if template == "" {
		template = defaultTenant
	}
	if !strings.Contains(template, "{") {
		fixed, err := credential.ParseTenant(template)
		if err != nil {
			return nil, fmt.Errorf("tenant: %w", err)
		}
		return &tenantSource{fixed: fixed, names: proxy.TenantNames{Fixed: true}}, nil
	}
	s := &tenantSource{template: template}
	all := config.PlaceholderName.FindAllStringSubmatchIndex(template, -1)
	if len(all) == 0 {
		return nil, fmt.Errorf("tenant: '%s' has a brace and no placeholder", template)
	}
	found := slices.DeleteFunc(all, func(at []int) bool { // what no client can change is like text
		return config.CheckRuntimePlaceholder(template[at[2]:at[3]]) == nil
	})
	s.names.Fixed = len(found) == 0
	for i, at := range found {
		name := template[at[2]:at[3]]
		part := tenantPart{placeholder: template[at[0]:at[1]]}
		if i+1 < len(found) {
			between := template[at[1]:found[i+1][0]]
			if part.separator = config.PlaceholderName.ReplaceAllString(between, ""); part.separator == "" {
				return nil, fmt.Errorf("tenant: nothing stands between %s and the next placeholder, so that two pairs of values make one tenant", part.placeholder)
			}
		}
		if m := headerPlaceholder.FindStringSubmatch(name); m != nil {
			field := http.CanonicalHeaderKey(m[1])
			if field == "Host" {
				return nil, errors.New("tenant: Host is no header field here: use {host}")
			}
			s.names.Headers = append(s.names.Headers, field)
			if part.placeholder == template {
				s.header = field
			}
		}
		if m := queryPlaceholder.FindStringSubmatch(name); m != nil {
			s.names.Parameters = append(s.names.Parameters, m[1])
		}
		if m := cookiePlaceholder.FindStringSubmatch(name); m != nil {
			part.cookie = m[1]
			s.names.Cookies = append(s.names.Cookies, m[1])
		}
		s.parts = append(s.parts, part)
	}
	return s, nil
}

// checkFixedTenant refuses a fixed tenant that may not be named.
func checkFixedTenant(template string, allowed []string) error {
	if template == "" || strings.Contains(template, "{") || len(allowed) == 0 || slices.Contains(allowed, template) {
		return nil
	}
	return fmt.Errorf("tenants: '%s', which is the tenant of all requests, is not among them", template)
}

// resolve returns the tenant that r names. The error is
// [credential.ErrTenantMissing] or [credential.ErrTenantInvalid].
func (s *tenantSource) resolve(r *http.Request) (credential.Tenant, error) {
	if s.fixed != "" {
		return s.fixed, nil
	}
	for _, field := range s.names.Headers {
		values := r.Header[field]
		if len(values) > 1 {
			return "", credential.ErrTenantInvalid
		}
		if len(values) == 0 || values[0] == "" {
			return "", credential.ErrTenantMissing
		}
	}
	if s.header != "" {
		return credential.ParseTenant(r.Header[s.header][0])
	}
	repl := replacerOf(r)
	for _, part := range s.parts {
		if part.cookie != "" && countCookies(r, part.cookie) > 1 {
			return "", credential.ErrTenantInvalid // servers differ in which they take
		}
		if part.separator == "" {
			continue
		}
		// A value with a separator in it would make one tenant of two pairs of values.
		if value, err := repl.ReplaceOrErr(part.placeholder, true, true); err != nil {
			return "", credential.ErrTenantMissing
		} else if strings.ContainsAny(value, part.separator) {
			return "", credential.ErrTenantInvalid
		}
	}
	name, err := repl.ReplaceOrErr(s.template, true, true)
	if err != nil {
		// Its text would quote the placeholder's value in some of Caddy's errors.
		return "", credential.ErrTenantMissing
	}
	return credential.ParseTenant(name)
}

// countCookies counts those of a name in any case, as Caddy's placeholder finds them.
func countCookies(r *http.Request, name string) (n int) {
	for _, cookie := range r.Cookies() {
		if strings.EqualFold(cookie.Name, name) {
			n++
		}
	}
	return n
}

func replacerOf(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}
