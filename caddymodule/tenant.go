package caddymodule

import (
	"fmt"
	"maps"
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
	only     string   // the one of them, if template is nothing else
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
		if match[0] == template {
			s.only = name
		}
	}
	return s, nil
}

// resolve returns the tenant that r names. The error is
// [credential.ErrTenantMissing] or [credential.ErrTenantInvalid].
func (s *tenantSource) resolve(r *http.Request, repl *caddy.Replacer) (credential.Tenant, error) {
	for _, name := range s.headers {
		switch values := r.Header[name]; {
		case len(values) == 0 || len(values) == 1 && values[0] == "":
			return "", credential.ErrTenantMissing
		case len(values) > 1:
			return "", credential.ErrTenantInvalid
		}
	}
	if s.only != "" {
		return credential.ParseTenant(r.Header[s.only][0])
	}
	name, err := repl.ReplaceOrErr(s.template, true, true)
	if err != nil {
		// Its text would quote the placeholder's value in some of Caddy's errors.
		return "", credential.ErrTenantMissing
	}
	return credential.ParseTenant(name)
}

// strip returns header without the fields that name the tenant. The upstream has
// no business with our customer's names, nor have the proxy's logs.
func (s *tenantSource) strip(header http.Header) http.Header {
	if len(s.headers) == 0 {
		return header
	}
	header = maps.Clone(header)
	for _, name := range s.headers {
		delete(header, name)
	}
	return header
}
