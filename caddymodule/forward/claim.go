package forward

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Address is the placeholder of the host and port that a claimed request goes to.
const Address = "{" + addressPlaceholder + "}"

const addressPlaceholder = "upstream_auth.forward_address"

// Handler is the handler `upstream_auth`.
type Handler interface {
	caddyhttp.MiddlewareHandler

	// Admits reports whether a request may be made for the tenant that it names. The errors
	// are those with which it would be refused.
	Admits(r *http.Request) error

	// TLSOnly reports whether requests to other machines are sent by TLS alone.
	TLSOnly() bool
}

// App is what the forward proxy needs of the app upstream_auth.
type App interface {
	// Provider returns the provider of that name, nil if there is none.
	Provider(name string) *upstream.Provider
}

// claim is one provider, and what becomes of requests to its hosts.
type claim struct {
	hosts     hosts.List
	encrypted Handler // goes on by TLS
	plain     Handler // goes on without
}

// load makes the claim of a provider.
func (f *Forward) load(ctx caddy.Context, name string) (*claim, error) {
	module, err := ctx.App(config.AppName)
	if err != nil {
		return nil, err
	}
	p := module.(App).Provider(name)
	if p == nil {
		return nil, errors.New("it is not configured")
	}
	if p.Hosts == nil {
		return nil, errors.New("it needs allowed_hosts, which say what is claimed")
	}
	c := &claim{hosts: p.Hosts}
	if c.encrypted, err = f.handler(ctx, name, true); err != nil {
		return nil, err
	}
	if c.plain, err = f.handler(ctx, name, false); err != nil {
		return nil, err
	}
	return c, nil
}

// handler loads a handler for requests that name their host themselves.
func (f *Forward) handler(ctx caddy.Context, provider string, encrypted bool) (Handler, error) {
	conf := []byte(f.Settings)
	if len(conf) == 0 {
		conf = []byte("{}")
	}
	set := func(path string, value any) (err error) {
		conf, err = sjson.SetBytes(conf, path, value)
		return err
	}
	tls := json.RawMessage("null")
	if encrypted {
		tls = json.RawMessage("{}")
		if own := gjson.GetBytes(conf, "proxy.transport.tls"); own.IsObject() {
			tls = json.RawMessage(own.Raw)
		}
	}
	if !gjson.GetBytes(conf, "proxy.headers.request.set.Host").Exists() {
		// The Host agrees with where the request goes, and goes there as the app wrote it.
		if err := set("proxy.headers.request.set.Host", []string{"{http.request.hostport}"}); err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
	}
	err := errors.Join(
		set("provider", provider),
		set("public_only", !f.Private),
		set("proxy.upstreams", []map[string]string{{"dial": Address}}),
		set("proxy.transport.protocol", "http"),
		set("proxy.transport.tls", tls),
		set("proxy.transport.network_proxy", map[string]string{"from": "none"}), // what the environment names may be this one
	)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	module, err := ctx.LoadModuleByID("http.handlers.upstream_auth", conf)
	if err != nil {
		return nil, err
	}
	return module.(Handler), nil
}
