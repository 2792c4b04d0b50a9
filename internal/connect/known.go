package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// maxGiven bounds what a link or a person says, in bytes: it is kept with the link.
const maxGiven = 8 << 10

// known returns what is known of a tenant before an account is connected, which templates
// are filled in with: what was said for it, and where nobody said anything what a stored
// credential has of it. It has no tokens.
func (f *Flow) known(ctx context.Context, tenant credential.Tenant, given map[string]string) (*credential.Credential, error) {
	document := []byte("{}")
	if f.config.Stored != nil && len(f.paths) > 0 {
		stored, err := f.config.Stored(ctx, tenant)
		switch {
		case errors.Is(err, credential.ErrNotFound), errors.Is(err, credential.ErrInvalid):
		case err != nil:
			return nil, err
		default:
			mappings := make([]oauth2.FieldMapping, 0, len(f.paths))
			for _, path := range f.paths {
				mappings = append(mappings, oauth2.FieldMapping{Field: path, From: path})
			}
			document = oauth2.MapFields(document, stored.JSON(), mappings)
		}
	}
	for _, q := range f.config.Ask {
		value, said := given[q.Path]
		if !said {
			continue
		}
		changed, err := sjson.SetBytes(document, q.Path, value)
		if err != nil {
			return nil, fmt.Errorf("%w: %q has no place in the credential", ErrMalformed, q.Path)
		}
		document = changed
	}
	return credential.New(credential.Document{Data: document})
}

// answered returns what is known for a link with the answers in a form to what neither it
// nor a stored credential says.
func (f *Flow) answered(ctx context.Context, l *link, form url.Values) (*credential.Credential, error) {
	registered, err := f.config.Links.Get(ctx, l.key(), l.ID)
	if err != nil {
		return nil, err
	}
	known, err := f.known(ctx, l.Tenant, registered.Parameters)
	if err != nil {
		return nil, err
	}
	open := f.unanswered(known)
	if len(open) == 0 {
		return known, nil
	}
	given := maps.Clone(registered.Parameters)
	if given == nil {
		given = make(map[string]string, len(open))
	}
	for _, q := range open {
		given[q.Path] = strings.TrimSpace(form.Get(askPrefix + q.Path))
	}
	if f.checkGiven(given) != nil {
		return nil, fmt.Errorf("%w: an answer is missing or too long", ErrMalformed)
	}
	return f.known(ctx, l.Tenant, given)
}

// askPrefix begins the names of fields that a person fills in.
const askPrefix = "ask."

// takenFields are the paths that templates take from a credential, but for those of tokens.
func (f *Flow) takenFields() []string {
	c := &f.config
	all := c.OAuth2.Paths()
	lists := [][]*template.Template{c.Scopes}
	for _, t := range []*template.Template{c.AuthorizationURL, c.UserinfoURL} {
		if t != nil {
			lists = append(lists, []*template.Template{t})
		}
	}
	for _, named := range []map[string]*template.Template{c.Params, c.TokenParams} {
		for _, t := range named {
			lists = append(lists, []*template.Template{t})
		}
	}
	for _, t := range slices.Concat(lists...) {
		all = append(all, t.Paths()...)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(path string) bool {
		return c.OAuth2.CheckMappings([]oauth2.FieldMapping{{Field: path, From: path}}) != nil // no place, or a token's
	})
}

// unanswered are the questions that neither what was said nor a stored credential answers.
func (f *Flow) unanswered(known *credential.Credential) []Question {
	return slices.DeleteFunc(slices.Clone(f.config.Ask), func(q Question) bool {
		value := gjson.GetBytes(known.JSON(), q.Path)
		return value.Exists() && value.Type != gjson.Null
	})
}

// checkGiven reports whether what is said for a link answers questions.
func (f *Flow) checkGiven(given map[string]string) error {
	for path, value := range given {
		asked := slices.ContainsFunc(f.config.Ask, func(q Question) bool { return q.Path == path })
		if !asked || template.Text(value) != "" {
			return ErrParameters
		}
	}
	if text, err := json.Marshal(given); err != nil || len(text) > maxGiven {
		return ErrParameters
	}
	return nil
}
