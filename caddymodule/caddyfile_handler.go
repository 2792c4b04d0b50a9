package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
)

// parseDirective sets up the handler from Caddyfile tokens. Syntax:
//
//	upstream_auth [<matcher>] <provider> [<upstreams...>] {
//	    tenant          <template>|<name>
//	    tenants         <names...>
//	    authorize jwt {
//	        header <name>
//	        # token, issuer, audience, tenant_claim and operators, as in upstream_auth_api
//	    }
//	    authorize mtls {
//	        uri|dns|email <name> [<tenants...>]
//	    }
//	    authorize secret {
//	        header <name>
//	        field  <path>
//	        file   <file>
//	    }
//	    authorize peer {
//	        uid|gid <number> [<tenants...>]
//	    }
//	    replay          <matcher>|{ <matchers...> }
//	    replay_max_body <size>
//	    replay_memory   <size>
//	    replay_dir      <directory>|off
//	    refresh_on      <status codes...>|grpc|@<response matcher>
//	    on_refresh_failure send|reject
//	    cookies         pass|drop
//	    forwarded_headers on|off
//	    scrub           headers|body|off
//	    insecure_http
//	    public_only
//
//	    # any subdirective of reverse_proxy
//	}
func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	proxyTokens, err := handler.unmarshalOwn(h.Dispenser)
	if err != nil {
		return nil, err
	}
	_, provider, err := findProvider(h, handler.Provider)
	if err != nil {
		return nil, err
	}

	proxy := new(reverseproxy.Handler)
	d := caddyfile.NewDispenser(proxyTokens)
	if err := proxy.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	if err := proxy.FinalizeUnmarshalCaddyfile(h); err != nil {
		return nil, err
	}
	if len(proxy.Upstreams) == 0 && proxy.DynamicUpstreamsRaw == nil {
		return nil, placeOf("", proxyTokens).Errf("upstream_auth needs an upstream, as in: upstream_auth %s https://api.example.com", handler.Provider)
	}
	handler.ProxyRaw = caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil)
	warnOfLoopbackSite(h)
	_, err = handler.checkUpstreams(provider, config.AdaptingResolver())
	if wrong, ok := errors.AsType[*upstreamError](err); ok {
		return nil, placeOf(wrong.dial, proxyTokens).WrapErr(err)
	}
	return handler, config.WrapErr(h.Dispenser, "", err)
}

// unmarshalOwn reads what is ours and returns the tokens of the reverse_proxy
// directive that is left without it.
func (h *Handler) unmarshalOwn(d *caddyfile.Dispenser) ([]caddyfile.Token, error) {
	d.Next()
	proxy := []caddyfile.Token{d.Token()}
	if !d.NextArg() || d.Val() == "" {
		return nil, d.Err("upstream_auth needs the name of a provider")
	}
	h.Provider = d.Val()
	for d.NextArg() {
		proxy = append(proxy, d.Token())
	}

	matchers := make(map[string]caddyhttp.ResponseMatcher)
	var refreshOn, tenants *caddyfile.Dispenser
	var opened bool
	for d.NextBlock(0) {
		if !opened {
			opened = true
			d.Prev()
			proxy = append(proxy, d.Token()) // the opening brace
			d.Next()
		}
		segment := d.NextSegment()
		own := caddyfile.NewDispenser(segment)
		own.Next()
		var err error
		switch name := own.Val(); {
		case name == "tenant":
			err = config.OneArg(own, &h.Tenant)
			if err == nil {
				_, sourceErr := newTenantSource(h.Tenant)
				err = config.WrapErr(own, "", sourceErr)
			}
		case name == "tenants":
			tenants = own // a fixed tenant may come further down
			if err = config.ManyArgs(own, &h.Tenants); err == nil {
				_, tenantsErr := parseTenants(h.Tenants)
				err = config.WrapErr(own, "", tenantsErr)
			}
		case name == "authorize":
			err = h.unmarshalAuthorize(own)
		case name == "replay":
			err = h.unmarshalReplay(own)
		case name == "replay_max_body":
			err = config.SizeArg(own, &h.ReplayMaxBody)
		case name == "replay_memory":
			err = config.SizeArg(own, &h.ReplayMemory)
		case name == "replay_dir":
			err = config.OneArg(own, &h.ReplayDir)
		case name == "cookies":
			if err = config.OneArg(own, &h.Cookies); err == nil {
				err = config.WrapErr(own, "", checkWord(name, h.Cookies, "pass", "drop"))
			}
		case name == "scrub":
			if err = config.OneArg(own, &h.Scrub); err == nil {
				err = config.WrapErr(own, "", checkWord(name, h.Scrub, "headers", "body", "off"))
			}
		case name == "on_refresh_failure":
			if err = config.OneArg(own, &h.OnRefreshFailure); err == nil {
				err = config.WrapErr(own, "", checkWord(name, h.OnRefreshFailure, "send", "reject"))
			}
		case name == "insecure_http":
			err = config.NoArg(own, &h.InsecureHTTP)
		case name == "public_only":
			err = config.NoArg(own, &h.PublicOnly)
		case name == "forwarded_headers":
			h.ForwardedHeaders, err = parseSwitch(own)
		case name == "refresh_on":
			if refreshOn != nil {
				err = own.Err("refresh_on is given twice")
			}
			refreshOn = own // a matcher may be defined further down
		case strings.HasPrefix(name, "@"):
			err = caddyhttp.ParseNamedResponseMatcher(caddyfile.NewDispenser(segment), matchers)
			proxy = append(proxy, segment...)
		default:
			proxy = append(proxy, segment...)
		}
		if err != nil {
			return nil, err
		}
	}
	if opened {
		proxy = append(proxy, d.Token()) // the closing brace
	}
	if err := checkFixedTenant(h.Tenant, h.Tenants); err != nil {
		return nil, tenants.WrapErr(err)
	}
	if refreshOn != nil {
		matcher, err := parseRefreshOn(refreshOn, matchers)
		if err != nil {
			return nil, err
		}
		h.RefreshOn = matcher
	}
	return proxy, nil
}

// parseSwitch reads: <name> on|off
func parseSwitch(d *caddyfile.Dispenser) (on bool, err error) {
	name := d.Val()
	var text string
	if err := config.OneArg(d, &text); err != nil {
		return false, err
	}
	if text != "on" && text != "off" {
		return false, d.Errf("%s: '%s' is neither on nor off", name, text)
	}
	return text == "on", nil
}

// parseRefreshOn reads status codes and grpc, or the name of a response matcher.
func parseRefreshOn(d *caddyfile.Dispenser, matchers map[string]caddyhttp.ResponseMatcher) (*RefreshOn, error) {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.ArgErr()
	}
	if strings.HasPrefix(args[0], "@") {
		matcher, defined := matchers[args[0]]
		if !defined {
			return nil, d.Errf("refresh_on: no response matcher %s is defined", args[0])
		}
		if len(args) > 1 {
			return nil, d.Err("refresh_on takes status codes or one response matcher")
		}
		return &RefreshOn{ResponseMatcher: matcher}, nil
	}
	on := new(RefreshOn)
	for _, arg := range args {
		if arg == "grpc" {
			on.GRPC = true
			continue
		}
		status, err := parseStatus(arg)
		if err != nil {
			return nil, d.Errf("refresh_on: %w", err)
		}
		on.StatusCode = append(on.StatusCode, status)
	}
	return on, nil
}

// parseStatus reads a status code of a final response, or a class such as 4xx.
func parseStatus(text string) (int, error) {
	if class, ok := strings.CutSuffix(text, "xx"); ok && len(class) == 1 {
		text = class
	}
	status, err := strconv.Atoi(text)
	isClass := 2 <= status && status <= 5
	isStatus := 200 <= status && status <= 599
	if err != nil || !isClass && !isStatus {
		return 0, fmt.Errorf("'%s' is not the status code of a final response", text)
	}
	return status, nil
}

// findProvider looks a provider up among the global options.
func findProvider(helper httpcaddyfile.Helper, name string) (*App, *Provider, error) {
	option, ok := helper.Option(config.AppName).(httpcaddyfile.App)
	if !ok {
		return nil, nil, helper.Err("upstream_auth needs the global option upstream_auth with a store and a provider")
	}
	app := new(App)
	if err := json.Unmarshal(option.Value, app); err != nil {
		return nil, nil, helper.WrapErr(err)
	}
	provider := app.Providers[name]
	if provider == nil {
		return nil, nil, helper.Errf("no provider '%s' is configured", name)
	}
	return app, provider, nil
}
