package connect

import (
	"cmp"
	"html/template"
	"net/http"
	"net/url"

	"github.com/upstreamauth/caddy-upstream-auth/internal/form"
)

// entry is a field as it is shown.
type entry struct {
	form.Field
	Name, Value, Trouble string
	Entries              []entry // of a group
}

// Input is its type in HTML.
func (e entry) Input() string {
	switch {
	case e.Secret:
		return "password"
	case e.Kind == form.Email, e.Kind == form.URL:
		return string(e.Kind)
	default:
		return "text"
	}
}

// DescribedBy are the ids of what is said about it.
func (e entry) DescribedBy() string {
	hint, trouble := "", ""
	if e.Hint != "" {
		hint = e.Name + ".hint"
	}
	if e.Trouble != "" {
		trouble = e.Name + ".trouble"
	}
	if hint == "" || trouble == "" {
		return cmp.Or(hint, trouble)
	}
	return hint + " " + trouble
}

// entries show fields with what was typed, nil if nothing was yet. Secrets are typed again.
func entries(fields []form.Field, typed url.Values, told []trouble) (all []entry) {
	for _, field := range fields {
		e := entry{Field: field, Name: fieldPrefix + field.Path, Entries: entries(field.Fields, typed, told)}
		switch {
		case field.Secret:
		case typed == nil:
			e.Value = field.Default
		default:
			e.Value = typed.Get(e.Name)
		}
		for _, t := range told {
			if t.Path == field.Path {
				e.Trouble = t.Text
			}
		}
		all = append(all, e)
	}
	return all
}

// filled is a question with a form.
type filled struct {
	question
	HelpURL  string
	Entries  []entry
	Troubles []trouble
}

// Title says when something is to be corrected.
func (q filled) Title() string {
	if len(q.Troubles) > 0 {
		return "Nothing is connected yet"
	}
	return q.question.Title()
}

// writeForm shows the form, after the first time with what was typed and what is wrong.
func (f *Flow) writeForm(w http.ResponseWriter, status int, q question, typed url.Values, causes []error) error {
	told := f.troubles(causes)
	return writeAsking(w, status, formPage, filled{q, f.config.HelpURL, entries(f.config.Form.Fields, typed, told), told})
}

var formPage = template.Must(template.Must(page.Clone()).Parse(`{{define "content" -}}
{{if .Troubles}}<div role="alert" id="troubles">
<p>Please correct this. Secrets have to be entered again.</p>
<ul>
{{range .Troubles}}<li>{{if .Path}}<a href="#field.{{.Path}}">{{.Text}}</a>{{else}}{{.Text}}{{end}}</li>
{{end}}</ul>
</div>
{{end -}}
<p><b>{{.Application}}</b> asks for access to <b>{{.Provider}}</b>, by what you enter here.</p>
<p>It would be connected to <b>{{.Tenant}}</b>: whoever works for {{.Tenant}} in {{.Application}} could then act with your account.</p>
<p>Go on only if this is what you want. If you did not expect this page, close it: nothing is connected then.</p>
{{if .HelpURL}}<p><a href="{{.HelpURL}}" target="_blank" rel="noopener noreferrer">Where to find this (opens a new page)</a></p>
{{end -}}
<form method="post" autocomplete="off">
<input type="hidden" name="form" value="{{.Form}}">
{{template "handoff" .}}
{{- range .Entries}}{{template "entry" .}}{{end -}}
<p><button id="go-on">Connect</button>
{{- if .ReturnTo}} <button id="cancel" name="cancel" value="cancel" formnovalidate>Cancel</button>{{end}}</p>
</form>
{{end}}

{{define "entry"}}{{if .IsGroup}}<fieldset>
<legend>{{.Label}}</legend>
{{if .Hint}}<p>{{.Hint}}</p>
{{end -}}
{{range .Entries}}{{template "entry" .}}{{end -}}
</fieldset>
{{else}}<div>
<label for="{{.Name}}">{{.Label}}{{if not .Required}} (optional){{end}}</label>
{{if .Hint}}<small id="{{.Name}}.hint">{{.Hint}}</small>
{{end -}}
{{if .Trouble}}<strong id="{{.Name}}.trouble">{{.Trouble}}</strong>
{{end -}}
{{if eq .Kind "choice"}}<select id="{{.Name}}" name="{{.Name}}"{{template "said" .}}>
<option value=""></option>
{{$value := .Value}}{{range .Options}}<option value="{{.Value}}"{{if eq .Value $value}} selected{{end}}>{{.Label}}</option>
{{end}}</select>
{{else if eq .Kind "lines"}}<textarea id="{{.Name}}" name="{{.Name}}" rows="8"{{template "said" .}} autocomplete="off" autocapitalize="none" spellcheck="false">{{.Value}}</textarea>
{{else}}<input id="{{.Name}}" name="{{.Name}}" type="{{.Input}}"{{if .Value}} value="{{.Value}}"{{end}}{{if eq .Kind "number"}} inputmode="decimal"{{end}}{{template "said" .}} autocomplete="off" autocapitalize="none" spellcheck="false">
{{end}}</div>
{{end}}{{end}}

{{define "said"}}{{if .Required}} required{{end}}{{if .Trouble}} aria-invalid="true"{{end}}{{with .DescribedBy}} aria-describedby="{{.}}"{{end}}{{end}}`))
