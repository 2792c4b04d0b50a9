package authserver

import (
	"context"
	"errors"
	"net/http"

	"github.com/ory/fosite"
)

// token is the token endpoint (RFC 6749 section 3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	number, behaviour := s.present(r)
	if behaviour.Before != nil {
		behaviour.Before()
	}
	if behaviour.Instead != nil {
		s.settle(number, Refused)
		s.answering(number)
		behaviour.Instead(w, r)
		return
	}

	answer, outcome := s.grant(r, number, behaviour)
	if (outcome == Granted || outcome == Rotated || outcome == Kept) && behaviour.After != Answer {
		outcome = Lost
	}
	s.settle(number, outcome)
	if behaviour.Between != nil {
		behaviour.Between()
	}
	s.answering(number)
	switch {
	case outcome != Lost:
		answer(w)
	case behaviour.After == Error500:
		http.Error(w, "internal error", http.StatusInternalServerError)
	default:
		panic(http.ErrAbortHandler)
	}
}

// grant lets fosite answer, in one step, and returns what writes its answer.
func (s *Server) grant(r *http.Request, number int, behaviour Behaviour) (answer func(http.ResponseWriter), outcome Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()

	ctx := withBehaviour(context.WithoutCancel(r.Context()), behaviour)
	s.settings.TokenURL = s.issuer(r) + r.URL.Path // that assertions are for
	request, err := s.provider.NewAccessRequest(ctx, r, &fosite.DefaultSession{})
	if err != nil {
		outcome = outcomeOf(err)
		if outcome == Invalid && s.spent(ctx, r.PostForm.Get("code")) {
			outcome = Reused
		}
		return func(w http.ResponseWriter) { s.provider.WriteAccessError(ctx, w, request, err) }, outcome
	}
	response, err := s.provider.NewAccessResponse(ctx, request)
	if err != nil {
		return func(w http.ResponseWriter) { s.provider.WriteAccessError(ctx, w, request, err) }, outcomeOf(err)
	}
	s.issued(response.GetAccessToken())
	for _, name := range []string{"refresh_token", "id_token"} {
		if token, ok := response.GetExtra(name).(string); ok {
			s.issued(token)
		}
	}
	if s.config.Fields != nil {
		for name, value := range s.config.Fields(s.ledger[number]) {
			response.SetExtra(name, value)
		}
	}
	outcome = Rotated
	switch {
	case !request.GetGrantTypes().ExactOne("refresh_token"):
		outcome = Granted
		s.families[subjectOf(request)] = request.GetID()
	case behaviour.Keep:
		outcome = Kept
		response.SetExtra("refresh_token", r.PostForm.Get("refresh_token"))
	}
	return func(w http.ResponseWriter) { s.provider.WriteAccessResponse(ctx, w, request, response) }, outcome
}

// spent tells whether tokens were granted for the code already.
func (s *Server) spent(ctx context.Context, code string) bool {
	_, err := s.store.GetAuthorizeCodeSession(ctx, s.strategy.AuthorizeCodeSignature(ctx, code), nil)
	return errors.Is(err, fosite.ErrInvalidatedAuthorizeCode)
}

func (s *Server) issued(token string) {
	if s.config.Issued != nil {
		s.config.Issued(token)
	}
}
