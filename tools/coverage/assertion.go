package main

import (
	"strconv"
	"strings"
)

// What the parameters of assertions are called (RFC 7523 section 2).
const (
	jwtBearer          = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	clientJWTAssertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// readAssertion reads a line whose token request has a JSON Web Token in it that is signed
// with a key of the tenant's: as the client's own (RFC 7523 section 2.2) or as the grant
// (section 2.1).
func (a *api) readAssertion() {
	f := a.facts
	if f.has("authorization_url") {
		a.omitOther("authorization_url", "authorization_params")
	}
	response := f.object("token_response")
	if token, path, strategy := response.text("token"), response.text("token_expiration"), response.text("token_expiration_strategy"); token != "access_token" || path != "expires_in" || strategy != "expireIn" {
		a.gap("an assertion for another answer than OAuth 2.0's")
	}
	params := f.texts("token_params")
	a.assertion = "assertion"
	own := map[string]string{"client_id": params["client_id"], "client_secret": params["client_secret"], "assertion": params["assertion"]}
	clientAuth := "none"
	if params["client_assertion"] != "" {
		clientAuth, a.assertion = "private_key_jwt", "client_assertion"
		own["client_assertion"], own["client_assertion_type"] = params["client_assertion"], clientJWTAssertion
		own["grant_type"] = "client_credentials"
	} else if own["grant_type"] = jwtBearer; params["client_secret"] != "" {
		clientAuth = "post"
	}
	if params["grant_type"] != own["grant_type"] {
		a.gap("an assertion for grant %s", params["grant_type"])
		return
	}
	want := a.openOAuth2(clientAuth)
	want.clientAuth = "" // it is among the parameters
	client := params["client_id"]
	var made *facts
	var header, claims map[string]string
	var key string
	var lifetime int64
	if made = f.object("assertion"); f.has("assertion") {
		if kind := made.text("type"); kind != "jwt" {
			a.gap("an assertion in %s", strings.ToUpper(kind))
			return
		}
		header, claims, key = made.texts("header"), made.texts("payload"), made.text("key")
		lifetime, _ = strconv.ParseInt(made.text("lifetimeInSeconds"), 10, 64)
	} else {
		f.object("signature").text("protocol") // the algorithm says it
		made = f.object("token")
		header, claims, key = made.texts("header"), made.texts("payload"), made.text("signing_key")
		lifetime = seconds(made.text("expires_in_ms"))
	}
	if client == "" {
		client = claims["iss"]
	}
	a.provider.add("client_id", client)
	if params["client_secret"] != "" {
		a.provider.add("client_secret", params["client_secret"])
	}
	// The options of an assertion are the tenant's, as all else in it.
	key = strings.ReplaceAll(key, "${assertionOption.", "{credential.")
	if a.assertion == "client_assertion" {
		a.provider.add("grant", "client_credentials")
		a.provider.open("client_assertion")
	} else {
		a.provider.add("grant", "jwt_bearer")
		a.provider.open("assertion")
	}
	a.signed = a.writeJWT(header, claims, key, "")
	a.signed.lifetime = lifetime
	a.provider.add("lifetime", strconv.FormatInt(lifetime, 10)+"s")
	a.provider.end()
	a.addParams(&a.provider, "param", params, own)
	a.provider.end()
	want.params = params
	delete(want.params, a.assertion)
	a.renewal = &want
	a.readMappingsOf("access_token")
}
