package connect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// fieldPrefix begins the names of fields of the credential.
const fieldPrefix = "field."

// refusal says why what was filled in was not stored, and that it can be corrected.
type refusal struct {
	causes     []error
	registered *links.Link
}

func (e *refusal) Error() string {
	return fmt.Sprintf("%v: %v", ErrNotAccepted, errors.Join(e.causes...))
}

func (e *refusal) Unwrap() []error { return append([]error{ErrNotAccepted}, e.causes...) }

// serveForm takes a form that was filled in. It is shown again, but for its secrets, with
// what can be corrected.
func (f *Flow) serveForm(w http.ResponseWriter, r *http.Request, at *redirect) {
	p, err := f.takeForm(w, r, at, maxFilledIn)
	if err != nil {
		f.end(w, r, starting, "", err)
		return
	}
	returnTo, err := f.fill(r.Context(), p)
	if refused, ok := errors.AsType[*refusal](err); ok {
		f.logFailure(r.Context(), starting, err)
		q := f.question(p.link, refused.registered, p.query)
		q.Form = p.values.Get("form")
		if err = f.writeForm(w, noticeOf(err).status, q, p.values, refused.causes); err == nil {
			return
		}
	}
	if err == nil {
		http.SetCookie(w, at.cookie(p.link, ""))
	}
	f.end(w, r, starting, returnTo, err)
}

// fill makes a credential of what was filled in. It returns where to send the browser if
// it is not to stay. What breaks a rule costs nothing; what is tried at the upstream is one
// of the attempts that the link has for as long as it lives.
func (f *Flow) fill(ctx context.Context, p *posted) (returnTo string, err error) {
	registered, err := f.config.Links.Get(ctx, p.key(), p.ID)
	if err != nil {
		return "", err
	}
	if p.values.Has("cancel") && registered.ReturnTo != "" {
		return registered.ReturnTo, ErrDeclined
	}
	values, err := fieldsOf(p.values)
	if err != nil {
		return "", err
	}
	document, problems, err := f.config.Form.Read(values)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	refused := &refusal{registered: registered}
	for _, problem := range problems {
		refused.causes = append(refused.causes, problem)
	}
	if len(problems) == 0 {
		if err := f.config.Check(document); err != nil {
			refused.causes = append(refused.causes, err)
		}
	}
	if len(refused.causes) > 0 {
		return "", refused
	}
	ctx = context.WithoutCancel(ctx) // as when a code is spent
	if err := f.beginAttempt(ctx, p, rand.Text(), links.Attempt{Expires: p.expires(), Ended: true}); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, acceptDeadline)
	defer cancel()
	if err := f.config.Accept(ctx, p.Tenant, document); err != nil {
		// If this fails the link stays used: the person needs another one.
		_ = f.config.Links.GiveBack(context.WithoutCancel(ctx), p.key(), p.ID)
		refused.causes = append(refused.causes, err)
		return "", refused
	}
	return registered.ReturnTo, nil
}

// fieldsOf are those of the credential in a form, by their paths, in which there is nothing
// that its page has not.
func fieldsOf(form url.Values) (url.Values, error) {
	fields := make(url.Values)
	for name, values := range form {
		if path, ok := strings.CutPrefix(name, fieldPrefix); ok {
			fields[path] = values
		} else if name != "form" && name != "handoff" && name != "cancel" {
			return nil, fmt.Errorf("%w: its form has something in it that was not asked for", ErrMalformed)
		}
	}
	return fields, nil
}
