package authserver

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"
)

// RefuseAuthorization has each authorization request from now on answered with an
// error code (RFC 6749 section 4.1.2.1) instead of the page. With "" the page is back.
func (s *Server) RefuseAuthorization(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = code
}

// SignIn has each authorization request from now on allowed at once for an account, as
// one of a browser that is signed in here and has allowed it before. With "" the page is
// back.
func (s *Server) SignIn(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signedIn = account
}

// AlterResponses has alter change the parameters of each authorization response from
// now on, of errors too; nil changes nothing.
func (s *Server) AlterResponses(alter func(response url.Values)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alter = alter
}

// WithoutIssuer is for [Server.AlterResponses]: it leaves out the parameter iss of
// RFC 9207.
func WithoutIssuer(response url.Values) { response.Del("iss") }

// WithIssuer is for [Server.AlterResponses]: it names another issuer.
func WithIssuer(issuer string) func(response url.Values) {
	return func(response url.Values) { response.Set("iss", issuer) }
}

// authorize is the authorization endpoint (RFC 6749 section 3.1). A GET shows the page,
// whose form sends its POST to the same address.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	// Fosite takes any port of a loopback address for the registered one, as RFC 8252
	// section 7.3 wants for native apps.
	if !slices.Contains(s.config.RedirectURIs, r.Form.Get("redirect_uri")) {
		http.Error(w, "redirect_uri is not registered", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	refusal, signedIn, alter := s.refusal, s.signedIn, s.alter
	s.mu.Unlock()
	response := &redirect{ResponseWriter: w, issuer: s.issuer(r), alter: alter}

	request, err := s.provider.NewAuthorizeRequest(ctx, r)
	switch decision := r.PostForm.Get("decision"); {
	case err != nil:
	case refusal != "":
		err = &fosite.RFC6749Error{ErrorField: refusal, DescriptionField: "A test wants it so."}
	case decision == "deny":
		err = fosite.ErrAccessDenied
	case decision != "allow" && signedIn != "":
		err = s.allow(response, r, request, signedIn)
	case decision != "allow":
		showPage(w, r, "")
		return
	case r.PostForm.Get("account") == "":
		showPage(w, r, "An account name is needed.")
		return
	default:
		err = s.allow(response, r, request, r.PostForm.Get("account"))
	}
	if err != nil {
		s.provider.WriteAuthorizeError(ctx, response, request, err)
	}
}

// allow sends the browser back with a code for the account.
func (s *Server) allow(w http.ResponseWriter, r *http.Request, request fosite.AuthorizeRequester, account string) error {
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
	now := time.Now().UTC()
	session := &openid.DefaultSession{
		Subject: account,
		Claims:  &jwt.IDTokenClaims{Issuer: s.issuer(r), Subject: account, RequestedAt: now, AuthTime: now, Extra: s.config.Claims(account)},
		Headers: &jwt.Headers{Extra: map[string]any{"kid": keyID}},
	}
	s.mu.Lock()
	response, err := s.provider.NewAuthorizeResponse(r.Context(), request, session)
	s.mu.Unlock()
	if err == nil {
		s.provider.WriteAuthorizeResponse(r.Context(), w, request, response)
	}
	return err
}

// redirect puts into the authorization response what fosite has not, the issuer of
// RFC 9207, and what a test wants.
type redirect struct {
	http.ResponseWriter
	issuer string
	alter  func(response url.Values)
}

// WriteHeader implements [http.ResponseWriter].
func (r *redirect) WriteHeader(status int) {
	if location, err := url.Parse(r.Header().Get("Location")); err == nil && status == http.StatusSeeOther {
		query := location.Query()
		query.Set("iss", r.issuer)
		if r.alter != nil {
			r.alter(query)
		}
		location.RawQuery = query.Encode()
		r.Header().Set("Location", location.String())
	}
	r.ResponseWriter.WriteHeader(status)
}
