package authserver

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Parse(pageSource))

// showPage shows the page where a person names an account and allows or denies, with
// what is wrong with what was sent.
func showPage(w http.ResponseWriter, r *http.Request, problem string) {
	var b bytes.Buffer
	err := page.Execute(&b, map[string]string{
		"Action": r.URL.RequestURI(), "Client": r.Form.Get("client_id"), "Scope": r.Form.Get("scope"), "Problem": problem,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if problem != "" {
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	_, _ = b.WriteTo(w)
}
