package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// Flow connects accounts of one provider. It is safe for concurrent use, starts
// nothing that goes on for longer than its requests' deadlines, and is not to be
// closed.
type Flow struct {
	config    Config
	redirects []*redirect
	returnTo  []place
	client    *http.Client
	metadata  *discovery.Issuer // nil without one
	paths     []string          // what templates take from a credential
	logger    *slog.Logger
}

// New checks c and makes a flow of it.
func New(c Config) (*Flow, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Links == nil || c.Accept == nil || c.Form != nil && c.Check == nil {
		return nil, errors.New("connect: Links and Accept are required, and Check with Form")
	}
	if c.LinkTTL == 0 {
		c.LinkTTL = DefaultLinkTTL
	}
	c.Scopes, c.Ask, c.Params = slices.Clone(c.Scopes), slices.Clone(c.Ask), maps.Clone(c.Params)
	if c.Dialer == nil {
		c.Dialer = new(tokenrequest.Client)
	}
	f := &Flow{config: c, logger: c.Logger}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	if c.Form == nil {
		f.client = discovery.NewClient(c.Transport, c.OAuth2.TLS)
		f.paths = f.takenFields()
	}
	if c.Issuer != "" {
		f.metadata = &discovery.Issuer{Name: c.Issuer, Client: f.client}
	}
	for _, uri := range c.RedirectURIs {
		at, err := newRedirect(uri)
		if err != nil {
			return nil, fmt.Errorf("connect: redirect_uri: %w", err)
		}
		f.redirects = append(f.redirects, at)
	}
	if f.config.Application == "" {
		f.config.Application = f.redirects[0].host
	}
	for _, text := range c.ReturnTo {
		p, err := parseReturnTo(text)
		if err != nil {
			return nil, fmt.Errorf("connect: return_to %w", err)
		}
		f.returnTo = append(f.returnTo, p)
	}
	return f, nil
}

// metadataOf returns those of the issuer. The error is an [ErrServerUnavailable], or that of
// ctx.
func (f *Flow) metadataOf(ctx context.Context) (*discovery.Metadata, error) {
	m, err := f.metadata.Get(ctx)
	if err == nil && !f.config.OAuth2.WithoutPKCE {
		err = m.CheckPKCE()
	}
	if err == nil && m.AuthorizationEndpoint != "" && checkEndpoint(m.AuthorizationEndpoint) != nil {
		err = &discovery.Error{Reason: "authorization_endpoint has a query that cannot be taken over"}
	}
	if _, known := errors.AsType[*discovery.Error](err); known {
		return nil, fmt.Errorf("%w: %w", ErrServerUnavailable, err)
	}
	return m, err
}

// Serves reports whether r asks for a start page or a redirect URI, as for ServeHTTP.
func (f *Flow) Serves(r *http.Request) bool {
	_, step := f.find(r)
	return step != foreign
}

// ServeHTTP answers a request for a start page or a redirect URI and returns true,
// or false if r asks for something else. It goes by r.URL's path as it was sent,
// and by r.Host; r is the browser's request before any rewriting.
func (f *Flow) ServeHTTP(w http.ResponseWriter, r *http.Request) (handled bool) {
	at, step := f.find(r)
	if step == foreign {
		return false
	}
	harden(w.Header())
	if methods := step.methods(); !slices.Contains(methods, r.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		writePage(w, methodNotAllowed)
		return true
	}
	if step == starting {
		f.serveStart(w, r, at)
	} else {
		f.serveCallback(w, r, at)
	}
	return true
}

// serveStart shows a link's question, or goes on from it: to the authorization server, or
// with a form to the end.
func (f *Flow) serveStart(w http.ResponseWriter, r *http.Request, at *redirect) {
	var address string
	var err error
	switch {
	case r.Method != http.MethodPost:
		err = f.ask(w, r, at)
	case f.config.Form != nil:
		f.serveForm(w, r, at)
		return
	default:
		address, err = f.begin(w, r, at)
	}
	switch {
	case err != nil:
		f.logFailure(r.Context(), starting, err)
		writeFailure(w, err)
	case address != "":
		seeOther(w, address)
	}
}

// serveCallback ends what a link began, well or not.
func (f *Flow) serveCallback(w http.ResponseWriter, r *http.Request, at *redirect) {
	returnTo, err := f.comeBack(w, r, at)
	f.end(w, r, comingBack, returnTo, err)
}

// end tells the person how it went, and the application if it wants the browser back.
func (f *Flow) end(w http.ResponseWriter, r *http.Request, s step, returnTo string, err error) {
	status := "success"
	if err != nil {
		status = "error"
		f.logFailure(r.Context(), s, err)
	} else {
		f.logger.LogAttrs(r.Context(), slog.LevelInfo, "account connected", slog.String("provider", f.config.Provider))
	}
	switch {
	// The configuration may have changed since the link was made.
	case returnTo != "" && f.mayReturnTo(returnTo):
		seeOther(w, withStatus(returnTo, status))
	case err != nil:
		writeFailure(w, err)
	default:
		writePage(w, connected)
	}
}

// writeFailure tells the person what err means for them, and when to try again if that is
// known.
func writeFailure(w http.ResponseWriter, err error) {
	if quota, ok := errors.AsType[*links.QuotaError](err); ok {
		w.Header().Set("Retry-After", quota.Seconds())
	}
	writePage(w, noticeOf(err))
}

// seeOther redirects without a body, which would repeat the address.
func seeOther(w http.ResponseWriter, address string) {
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}

func (f *Flow) logFailure(ctx context.Context, s step, err error) {
	level := slog.LevelInfo
	if noticeOf(err).status >= 500 {
		level = slog.LevelWarn
	}
	f.logger.LogAttrs(ctx, level, "account not connected",
		slog.String("provider", f.config.Provider), slog.String("step", s.String()), slog.Any("error", err))
}
