package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// FetchCredentials asks the application itself for the credential of a tenant: when
// the store has none, or has one that is beyond refreshing, or whose own client the token
// endpoint refuses. The request that needs it waits; all that come meanwhile share one question. The answer is checked, stored,
// and used.
//
// The application is asked with GET. It answers 200 and the credential, a JSON
// object of at most 1 MiB, or 404 (204, 410) if it has none.
type FetchCredentials struct {
	// The address to ask: https, unless the host is a loopback address. `{tenant}`
	// and `{provider}` in its path or query stand for the names; without `{tenant}`
	// the query parameter `tenant` is added. The header `X-Tenant-ID` names the
	// tenant, too.
	URL string `json:"url"`

	// Header fields by which this process authenticates itself. Their values use
	// run-time placeholders such as `{env.NAME}` and `{file.PATH}`.
	Header []Mapping `json:"header,omitempty"`

	// Those of connections to the application.
	tlsfiles.Files

	// How long one question may take. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long "there is none", an answer of no use, and a failure are remembered.
	// Default: 10s.
	NegativeTTL caddy.Duration `json:"negative_ttl,omitempty"`
}

// check reports what is wrong, as far as adapting a Caddyfile can tell.
func (conf *FetchCredentials) check() error {
	if conf.URL == "" {
		return errors.New("the URL is missing")
	}
	if !hasRuntimePlaceholder(conf.URL) {
		if err := upstream.CheckFetchURL(conf.URL); err != nil {
			return err
		}
	}
	if err := tlsfiles.Check(conf.Files); err != nil {
		return err
	}
	if conf.Timeout < 0 || conf.NegativeTTL < 0 {
		return errors.New("timeout and negative_ttl cannot be negative")
	}
	for _, m := range conf.Header {
		switch {
		case !httpguts.ValidHeaderFieldName(m.Name):
			return fmt.Errorf("header: '%s' is not a field name", m.Name)
		case strings.EqualFold(m.Name, upstream.HeaderTenant), strings.EqualFold(m.Name, "Host"):
			return fmt.Errorf("header %s has its own meaning", m.Name)
		case !strings.Contains(m.Value, "{"):
			return fmt.Errorf("header %s: %w", m.Name, template.ErrInlineSecret)
		}
	}
	return nil
}

// hasRuntimePlaceholder reports whether a fetch's URL has more to fill in than names.
func hasRuntimePlaceholder(text string) bool {
	return strings.Contains(strings.NewReplacer("{tenant}", "", "{provider}", "").Replace(text), "{")
}

// fetch makes it ready.
func (conf *FetchCredentials) fetch(resolve *config.Resolver) (*upstream.Fetch, error) {
	if err := conf.check(); err != nil {
		return nil, err
	}
	f := &upstream.Fetch{Timeout: time.Duration(conf.Timeout), NegativeTTL: time.Duration(conf.NegativeTTL)}
	// {tenant} and {provider} are not the resolver's.
	const tenant, provider = "\x00t\x00", "\x00p\x00"
	text := strings.NewReplacer("{tenant}", tenant, "{provider}", provider).Replace(conf.URL)
	f.URL = strings.NewReplacer(tenant, "{tenant}", provider, "{provider}").Replace(resolve.Text("fetch_credentials", text))
	header := make(http.Header, len(conf.Header))
	for _, m := range conf.Header {
		value := resolve.Text("header "+m.Name, m.Value)
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("header %s: its value cannot be sent", m.Name)
		}
		header.Add(m.Name, value)
	}
	if len(header) > 0 {
		f.Header = header
	}
	var err error
	if f.TLS, err = config.LoadTLS(conf.Files, resolve); err != nil {
		return nil, err
	}
	return f, f.Prepare()
}
