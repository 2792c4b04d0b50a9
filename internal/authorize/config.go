package authorize

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/bearer"
)

// Config says who may use which tenant. A request has to meet all that is given.
type Config struct {
	// By a bearer token that names the tenant, or a list that holds it.
	JWT *JWT `json:"jwt,omitempty"`

	// By the names in the client's certificate, if the server has verified it: at least one
	// of these has to be met. A certificate is verified if the site has `client_auth` with
	// a `trust_pool`, and the mode is `verify_if_given` or `require_and_verify`.
	MTLS []Grant `json:"mtls,omitempty"`

	// By a secret that each tenant has.
	Secret *Secret `json:"secret,omitempty"`

	// By the process at the other end of a Unix socket, as the kernel knows it: at least
	// one of these has to be met. On Linux alone.
	Peer []Grant `json:"peer,omitempty"`
}

// JWT says which bearer tokens are accepted. The claim that names the tenant may be an
// array of names. If the handler has no `tenant`, and a request no `X-Tenant-ID`, it is
// the tenant that the token names, if it names one alone. Operators may use any.
type JWT struct {
	// The header field that the token comes in, once: as `Bearer <token>` in
	// Authorization, and by itself in any other. It is not sent upstream. Default:
	// `Authorization`.
	Header string `json:"header,omitempty"`

	bearer.Config
}

// Secret says where a request has its tenant's secret, and what it is compared with: a
// field of the credential or a file.
type Secret struct {
	// The header field that the secret comes in, once: as `Bearer <secret>` in
	// Authorization, which Caddy keeps out of its logs, and by itself in any other. It is
	// not sent upstream. Default: `Authorization`.
	Header string `json:"header,omitempty"`

	// Where in the tenant's credential the secret is, a gjson path. Of an array each
	// element counts, so that it can be changed.
	Field string `json:"field,omitempty"`

	// The file that has it, of at most 64 KiB, each line of which counts. `{tenant}` in its
	// path, which is required, stands for the tenant. It is read anew for each request.
	File string `json:"file,omitempty"`
}

// Grant lets who has a certain name use tenants.
type Grant struct {
	// What the name is: `uri`, `dns` or `email` of a certificate, `uid` or `gid` of a
	// process. Its groups beside the first are not known.
	Kind string `json:"kind"`

	// The name itself, exactly. In one of a certificate `{tenant}` stands for the tenant.
	Name string `json:"name"`

	// The tenants. Default: all, or the one that stands for `{tenant}`.
	Tenants []string `json:"tenants,omitempty"`
}

// The kinds of names that there are.
var (
	CertificateKinds = []string{"uri", "dns", "email"}
	PeerKinds        = []string{"uid", "gid"}
)

// tenantPlaceholder stands for the tenant in paths and names.
const tenantPlaceholder = "{tenant}"

// Validate reports what is wrong with c, and opens nothing.
func (c *Config) Validate() error {
	if c.JWT == nil && len(c.MTLS) == 0 && c.Secret == nil && len(c.Peer) == 0 {
		return errors.New("authorize needs one of jwt, mtls, secret and peer")
	}
	if c.JWT != nil {
		if err := errors.Join(checkHeader(c.JWT.Header), c.JWT.Validate()); err != nil {
			return fmt.Errorf("authorize jwt: %w", err)
		}
	}
	if c.Secret != nil {
		if err := c.Secret.validate(); err != nil {
			return fmt.Errorf("authorize secret: %w", err)
		}
		if c.JWT != nil && c.JWT.header() == c.Secret.header() {
			return fmt.Errorf("authorize jwt and authorize secret need header fields of their own, and not both %s", c.Secret.header())
		}
	}
	for _, g := range c.MTLS {
		if err := g.validate(CertificateKinds); err != nil {
			return fmt.Errorf("authorize mtls: %w", err)
		}
	}
	for _, g := range c.Peer {
		if err := g.validate(PeerKinds); err != nil {
			return fmt.Errorf("authorize peer: %w", err)
		}
	}
	if len(c.Peer) > 0 && runtime.GOOS != "linux" {
		return errors.New("authorize peer is for Linux alone")
	}
	return nil
}

func (s *Secret) validate() error {
	switch {
	case (s.Field == "") == (s.File == ""):
		return errors.New("it needs one of field and file")
	case s.File != "" && !strings.Contains(s.File, tenantPlaceholder):
		return errors.New("file has no {tenant} in it, so that all tenants would have one secret")
	}
	return checkHeader(s.Header)
}

func (g *Grant) validate(kinds []string) error {
	switch {
	case !slices.Contains(kinds, g.Kind):
		return fmt.Errorf("'%s' is none of %s", g.Kind, strings.Join(kinds, ", "))
	case g.Name == "":
		return fmt.Errorf("%s has no name", g.Kind)
	}
	if slices.Contains(PeerKinds, g.Kind) {
		if n, err := strconv.ParseUint(g.Name, 10, 32); err != nil || strconv.FormatUint(n, 10) != g.Name {
			return fmt.Errorf("%s: '%s' is not a number", g.Kind, g.Name)
		}
	}
	for _, name := range g.Tenants {
		if _, err := credential.ParseTenant(name); err != nil {
			return fmt.Errorf("%s: %q: %w", g.Kind, name, err)
		}
	}
	return nil
}

// checkHeader refuses fields that a request cannot bring a secret in.
func checkHeader(name string) error {
	if name != "" && (!httpguts.ValidHeaderFieldName(name) || strings.ContainsAny(name, "_.") || strings.EqualFold(name, "Host")) {
		return fmt.Errorf("header: '%s' is not the name of a field that Caddy passes on", name)
	}
	return nil
}

const authorization = "Authorization"

func (j *JWT) header() string { return headerOr(j.Header) }

func (s *Secret) header() string { return headerOr(s.Header) }

func headerOr(name string) string {
	if name == "" {
		return authorization
	}
	return http.CanonicalHeaderKey(name)
}
