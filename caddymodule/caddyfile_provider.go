package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/internal/form"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// unmarshalBlock reads the block of a provider; the syntax stands with that of
// [App].
func (conf *Provider) unmarshalBlock(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "schema":
			err = conf.unmarshalSchema(d)
		case "allowed_hosts":
			if err = config.ManyArgs(d, &conf.AllowedHosts); err == nil {
				_, hostsErr := conf.allowedHosts()
				err = config.WrapErr(d, "", hostsErr)
			}
		case "insecure_http":
			err = config.NoArg(d, &conf.InsecureHTTP)
		case "expose":
			if err = config.ManyArgs(d, &conf.Expose); err == nil {
				err = config.WrapErr(d, "", checkExpose(conf.Expose))
			}
		case "limits":
			err = unmarshalLimits(d, &conf.Limits)
		case "test":
			err = unmarshalRequest(d, &conf.Test)
		case "revoke":
			err = unmarshalRequest(d, &conf.Revoke)
		case "retry_after":
			err = unmarshalRetryAfter(d, &conf.RetryAfter)
		case "fetch_credentials":
			err = conf.unmarshalFetch(d)
		default:
			err = conf.unmarshalScheme(d, name)
		}
		if err != nil {
			return err
		}
	}
	if known := conf.known(); len(known) == len(conf.schemes) {
		if _, err := upstream.New(upstream.Provider{Provider: &renew.Provider{Renewer: conf.renewer()}, Schemes: known}); err != nil {
			return d.WrapErr(err)
		}
	}
	return conf.checkTogether(d)
}

// known are the schemes of ours. Others may not be asked before they are provisioned.
func (conf *Provider) known() (known []scheme.Scheme) {
	for _, s := range conf.schemes {
		if _, ours := s.(schemes.Explainer); ours {
			known = append(known, s)
		}
	}
	return known
}

// readRenewer reads the scheme that renews credentials, if it is one of ours, of a provider
// that was read from JSON.
func (conf *Provider) readRenewer() error {
	for _, raw := range conf.SchemesRaw {
		var s interface {
			scheme.Scheme
			Adapt() error
		}
		switch gjson.GetBytes(raw, "scheme").Str {
		case "oauth2":
			s = new(schemes.OAuth2)
		case "login":
			s = new(schemes.Login)
		default:
			continue
		}
		if err := json.Unmarshal(raw, s); err != nil {
			return err
		}
		conf.schemes = append(conf.schemes, s)
		return s.Adapt()
	}
	return nil
}

// form makes the form of a provider that was read from JSON, as far as adapting a Caddyfile
// can tell: of its own schema. Nobody has asked the schemes yet what they need.
func (conf *Provider) form() (*form.Form, error) {
	own, err := loadSchema(conf.literalSchema(), config.NewResolver())
	if err != nil {
		return nil, err
	}
	p := upstream.Provider{Provider: &renew.Provider{Renewer: conf.renewer()}, OwnSchema: own, Expose: conf.Expose}
	if own != nil {
		p.Schemas = append(p.Schemas, own)
	}
	f, err := p.Form()
	if errors.Is(err, form.ErrEmpty) {
		return new(form.Form), nil
	}
	return f, err
}

// nameOf returns the name of a scheme's module.
func nameOf(s scheme.Scheme) string {
	if module, ok := s.(caddy.Module); ok {
		return module.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", s)
}

// unmarshalScheme reads a subdirective that is the name of a scheme.
func (conf *Provider) unmarshalScheme(d *caddyfile.Dispenser, name string) error {
	id := schemes.Namespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("unrecognized subdirective '%s' of provider", name)
	}
	if schemes.IsGivenOnce(name) && slices.ContainsFunc(conf.schemes, func(s scheme.Scheme) bool { return nameOf(s) == name }) {
		return d.Errf("%s is given twice", name)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	s, ok := module.(scheme.Scheme)
	if !ok {
		return d.Errf("'%s' is not a scheme", name)
	}
	conf.schemes = append(conf.schemes, s)
	conf.SchemesRaw = append(conf.SchemesRaw, caddyconfig.JSONModuleObject(s, "scheme", name, nil))
	return nil
}

// checkTogether checks what depends on more than one subdirective.
func (conf *Provider) checkTogether(d *caddyfile.Dispenser) error {
	for name, request := range map[string]*Request{"test": conf.Test, "revoke": conf.Revoke} {
		if request == nil {
			continue
		}
		if _, err := request.request(http.MethodGet, conf.AllowedHosts, request.lookupLater); err != nil {
			return d.Errf("%s: %w", name, err)
		}
	}
	literal := Provider{Schema: conf.literalSchema(), schemes: conf.known()}
	_, all, err := literal.schemas(config.NewResolver())
	if err != nil {
		all = nil // unmarshalSchema has told
	}
	return config.WrapErr(d, "", checkExpose(conf.Expose, all...))
}

// unmarshalSchema reads the path of a file, or a schema, which is one token in
// backquotes or a heredoc.
func (conf *Provider) unmarshalSchema(d *caddyfile.Dispenser) error {
	if conf.Schema != nil {
		return d.Err("schema is given twice")
	}
	var text string
	if err := config.OneArg(d, &text); err != nil {
		return err
	}
	conf.Schema = json.RawMessage(text)
	if inline := json.Valid(conf.Schema) && strings.HasPrefix(strings.TrimSpace(text), "{"); !inline {
		if err := config.CheckLiteral(d, "schema", text, config.CheckReadable); err != nil {
			return err
		}
		raw, err := json.Marshal(text)
		if err != nil {
			return d.WrapErr(err)
		}
		conf.Schema = raw
	}
	_, err := loadSchema(conf.literalSchema(), config.NewResolver())
	return config.WrapErr(d, "", err)
}

// literalSchema returns the schema unless it is in a file whose name has yet to be
// filled in.
func (conf *Provider) literalSchema() json.RawMessage {
	var file string
	if json.Unmarshal(conf.Schema, &file) == nil && strings.Contains(file, "{") {
		return nil
	}
	return conf.Schema
}
