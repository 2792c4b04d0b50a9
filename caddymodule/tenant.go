package caddymodule

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// defaultTenant is the tenant's template where none is configured.
const defaultTenant = "{http.request.header.X-Tenant-ID}"

// headerPlaceholder finds the header fields that a template reads.
var headerPlaceholder = regexp.MustCompile(`\{(?:http\.request\.)?header\.([^{}]+)\}`)

// tenantSource says where a request names its tenant.
type tenantSource struct {
	template string
	headers  []string // canonical names of the header fields that template reads
	only     bool     // template is one of them and nothing else
}

func newTenantSource(template string) (*tenantSource, error) {
	if template == "" {
		template = defaultTenant
	}
	if !strings.Contains(template, "{") {
		return nil, fmt.Errorf("tenant: %q has no placeholder: all requests would be one tenant's", template)
	}
	s := &tenantSource{template: template}
	for _, match := range headerPlaceholder.FindAllStringSubmatch(template, -1) {
		name := http.CanonicalHeaderKey(match[1])
		s.headers = append(s.headers, name)
		s.only = match[0] == template
	}
	return s, nil
}

// resolve returns the tenant that r names. The error is
// [credential.ErrTenantMissing] or [credential.ErrTenantInvalid].
func (s *tenantSource) resolve(r *http.Request) (credential.Tenant, error) {
	var name string
	for _, field := range s.headers {
		values := r.Header[field]
		if len(values) > 1 {
			return "", credential.ErrTenantInvalid
		}
		if len(values) == 0 || values[0] == "" {
			return "", credential.ErrTenantMissing
		}
		name = values[0]
	}
	if !s.only {
		var err error
		if name, err = replacerOf(r).ReplaceOrErr(s.template, true, true); err != nil {
			// Its text would quote the placeholder's value in some of Caddy's errors.
			return "", credential.ErrTenantMissing
		}
	}
	return credential.ParseTenant(name)
}

func replacerOf(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}
