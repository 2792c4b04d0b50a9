package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/api"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/forward"
)

// Each stands before reverse_proxy, and so in the order in which they are registered:
// what answers some paths by itself goes before what proxies all of them.
func init() {
	for _, directive := range []struct {
		name  string
		parse httpcaddyfile.UnmarshalHandlerFunc
	}{
		{"upstream_auth_connect", parseConnect},
		{"upstream_auth_api", parseAPI},
		{"upstream_auth_forward", parseForward},
		{"upstream_auth", parseDirective},
	} {
		httpcaddyfile.RegisterHandlerDirective(directive.name, directive.parse)
		httpcaddyfile.RegisterDirectiveOrder(directive.name, httpcaddyfile.Before, "reverse_proxy")
	}
}

// parseAPI reads upstream_auth_api, see [api.API], and holds it against the global option.
func parseAPI(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(api.API)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	app, _, err := findProvider(h, handler.Provider)
	if err != nil {
		return nil, err
	}
	switch readOnly, err := app.storeReadOnly(); {
	case err != nil:
		return nil, h.WrapErr(err)
	case readOnly:
		return nil, h.WrapErr(needsCheckAndSet("upstream_auth_api"))
	}
	return handler, nil
}

// parseConnect reads upstream_auth_connect, see [api.Connect], and holds it against the
// global option.
func parseConnect(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(api.Connect)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	_, provider, err := findProvider(h, handler.Provider)
	if err != nil {
		return nil, err
	}
	if err := provider.readRenewer(); err != nil {
		return nil, h.WrapErr(err)
	}
	if err := handler.Check(h.Dispenser, provider.oauth2(), provider.form); err != nil {
		return nil, err
	}
	return handler, nil
}

// parseForward reads upstream_auth_forward, see [forward.Forward], and holds it against the
// global option.
func parseForward(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	f := new(forward.Forward)
	err := f.UnmarshalCaddyfile(h.Dispenser, func(tokens []caddyfile.Token) (json.RawMessage, error) {
		claimed := h
		claimed.Dispenser = caddyfile.NewDispenser(tokens)
		handler, err := parseDirective(claimed)
		if err != nil {
			return nil, err
		}
		return json.Marshal(handler)
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}
