package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// unmarshalBlock reads the block of a provider; the syntax stands with that of
// [App].
func (config *Provider) unmarshalBlock(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "schema":
			err = config.unmarshalSchema(d)
		case "allowed_hosts":
			if err = manyArgs(d, &config.AllowedHosts); err == nil {
				_, hostsErr := config.hosts()
				err = wrapErr(d, "", hostsErr)
			}
		case "expose":
			if err = manyArgs(d, &config.Expose); err == nil {
				err = wrapErr(d, "", checkExpose(config.Expose))
			}
		case "header":
			err = unmarshalMapping(d, &config.Header)
		case "query":
			err = unmarshalMapping(d, &config.Query)
		case "basic":
			err = config.unmarshalBasic(d)
		case "oauth2":
			err = config.unmarshalOAuth2(d)
		case "test":
			err = unmarshalRequest(d, &config.Test)
		case "revoke":
			err = unmarshalRequest(d, &config.Revoke)
		case "fetch_credentials":
			err = config.unmarshalFetch(d)
		default:
			err = d.Errf("unrecognized subdirective '%s' of provider", name)
		}
		if err != nil {
			return err
		}
	}
	options, err := config.schemeOptions(lookupLater)
	if err != nil {
		return d.WrapErr(err)
	}
	s, err := scheme.New(options)
	if err != nil {
		return d.WrapErr(err)
	}
	return config.checkTogether(d, s)
}

// checkTogether checks what depends on more than one subdirective.
func (config *Provider) checkTogether(d *caddyfile.Dispenser, s *scheme.Scheme) error {
	for name, request := range map[string]*Request{"test": config.Test, "revoke": config.Revoke} {
		if request == nil {
			continue
		}
		if _, err := request.request(http.MethodGet, config.AllowedHosts, request.lookupLater); err != nil {
			return d.Errf("%s: %w", name, err)
		}
	}
	builtin, err := credential.CompileSchema(s.Schema())
	if err != nil {
		return d.WrapErr(err)
	}
	schemas := []*credential.Schema{builtin}
	if own, err := loadSchema(config.literalSchema(), newResolver()); err == nil && own != nil {
		schemas = append(schemas, own)
	}
	return wrapErr(d, "", checkExpose(config.Expose, schemas...))
}

// unmarshalSchema reads the path of a file, or a schema, which is one token in
// backquotes or a heredoc.
func (config *Provider) unmarshalSchema(d *caddyfile.Dispenser) error {
	if config.Schema != nil {
		return d.Err("schema is given twice")
	}
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	config.Schema = json.RawMessage(text)
	if inline := json.Valid(config.Schema) && strings.HasPrefix(strings.TrimSpace(text), "{"); !inline {
		if err := checkLiteral(d, "schema", text, checkReadable); err != nil {
			return err
		}
		raw, err := json.Marshal(text)
		if err != nil {
			return d.WrapErr(err)
		}
		config.Schema = raw
	}
	_, err := loadSchema(config.literalSchema(), newResolver())
	return wrapErr(d, "", err)
}

// literalSchema returns the schema unless it is in a file whose name has yet to be
// filled in.
func (config *Provider) literalSchema() json.RawMessage {
	var file string
	if json.Unmarshal(config.Schema, &file) == nil && strings.Contains(file, "{") {
		return nil
	}
	return config.Schema
}

func unmarshalMapping(d *caddyfile.Dispenser, target *[]Mapping) error {
	kind := d.Val()
	name, value, err := namedArg(d)
	if err != nil {
		return err
	}
	if _, err := parseValue(value, lookupLater); err != nil {
		return d.Errf("%s %s: %w", kind, name, err)
	}
	*target = append(*target, Mapping{Name: name, Value: value})
	return nil
}

func (config *Provider) unmarshalBasic(d *caddyfile.Dispenser) error {
	if config.Basic != nil {
		return d.Err("basic is given twice")
	}
	user, password, err := namedArg(d)
	if err != nil {
		return err
	}
	config.Basic = &Basic{User: user, Password: password}
	_, err = (&Provider{Basic: config.Basic}).schemeOptions(lookupLater)
	return wrapErr(d, "", err)
}

// lookupLater stands for the value of a run-time placeholder, which adapting
// does not know.
func lookupLater(name string) (string, error) {
	return "x", checkRuntimePlaceholder(name)
}

// checkLiteral checks a value in which nothing is left to fill in.
func checkLiteral(d *caddyfile.Dispenser, name, value string, check func(string) error) error {
	if strings.Contains(value, "{") {
		return nil
	}
	return wrapErr(d, name, check(value))
}

// wrapErr adds the place in the Caddyfile to err, if there is one.
func wrapErr(d *caddyfile.Dispenser, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case name == "":
		return d.WrapErr(err)
	default:
		return d.Errf("%s: %w", name, err)
	}
}
