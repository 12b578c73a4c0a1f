//! What the page says, in each language: one table, one column a language, and how times are said.
//!
//! A language that is not here is English. Must not know what a page looks like.

use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike, Utc};

use crate::time::Timestamp;

/// The page's words in one language. `{…}` stands for what is put in.
#[derive(Debug)]
pub struct Words {
    /// The language's code, for `lang`.
    pub lang: &'static str,
    /// One thing and many of it: days, hours, minutes.
    units: [(&'static str, &'static str); 3],
    under_a_minute: &'static str,
    and: &'static str,
    months: [&'static str; 12],
    /// With `{day}`, `{month}`, `{year}`, `{time}`.
    date: &'static str,
    /// With `{time}`.
    pub left: &'static str,
    /// With `{at}`.
    pub until: &'static str,
    /// With `{name}`.
    pub for_member: &'static str,
    /// With `{place}`.
    pub from_workflow: &'static str,
    /// With `{need}` and `{given}`.
    pub need: &'static str,
    pub details: &'static str,
    pub nothing: &'static str,
    pub choose: &'static str,
    pub search: &'static str,
    pub search_button: &'static str,
    pub search_all: &'static str,
    /// With `{count}` and `{all}`.
    pub search_count: &'static str,
    pub your_answer: &'static str,
    /// With `{min}` and `{max}`.
    pub length: &'static str,
    pub your_decision: &'static str,
    pub approve: &'static str,
    pub reject: &'static str,
    pub send: &'static str,
    pub comment: &'static str,
    pub optional: &'static str,
    pub your_name: &'static str,
    pub yes: &'static str,
    pub no: &'static str,
    pub no_answer: &'static str,
    pub number_hint: &'static str,
    pub array_hint: &'static str,
    pub object_hint: &'static str,
    // What is wrong with an answer.
    pub wrong_title: &'static str,
    pub wrong_choice: &'static str,
    pub wrong_decision: &'static str,
    pub wrong_text_empty: &'static str,
    /// With `{min}`, `{max}` and `{count}`.
    pub wrong_text_length: &'static str,
    pub wrong_name: &'static str,
    /// With `{field}`, as the next ones.
    pub wrong_missing: &'static str,
    pub wrong_number: &'static str,
    pub wrong_boolean: &'static str,
    pub wrong_array: &'static str,
    pub wrong_object: &'static str,
    pub wrong_one_of: &'static str,
    /// With `{field}` and `{why}`.
    pub wrong_field: &'static str,
    pub wrong_comment: &'static str,
    // What became of it.
    pub thanks: &'static str,
    pub you_answered: &'static str,
    pub still_open: &'static str,
    pub taken_title: &'static str,
    pub taken: &'static str,
    pub approved: &'static str,
    pub rejected: &'static str,
    pub answered: &'static str,
    pub timed_out: &'static str,
    pub cancelled: &'static str,
    pub answers: &'static str,
    pub answer: &'static str,
    pub by: &'static str,
    pub when: &'static str,
    pub may_close: &'static str,
    // Links that do not lead to a question.
    pub expired_title: &'static str,
    pub expired: &'static str,
    pub expired_while: &'static str,
    pub expired_kept: &'static str,
    pub expired_own: &'static str,
    pub fresh: &'static str,
    pub sent_title: &'static str,
    pub sent: &'static str,
    pub too_many_title: &'static str,
    pub too_many: &'static str,
    pub closed_title: &'static str,
    pub closed: &'static str,
    pub unknown_title: &'static str,
    pub unknown: &'static str,
    pub refused_title: &'static str,
    pub forged: &'static str,
    pub requester: &'static str,
    pub not_asked: &'static str,
    pub too_large: &'static str,
    pub open_again: &'static str,
}

/// English: what is said where a language is not known.
pub static EN: Words = Words {
    lang: "en",
    units: [("day", "days"), ("hour", "hours"), ("minute", "minutes")],
    under_a_minute: "less than a minute",
    and: "and",
    months: [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    date: "{day} {month} {year}, {time} UTC",
    left: "{time} left",
    until: "until {at}",
    for_member: "This question is for {name}.",
    from_workflow: "Asked by the workflow {place}.",
    need: "It takes {need} people who agree. Answers so far: {given}.",
    details: "Details",
    nothing: "none",
    choose: "Choose one",
    search: "Search the options",
    search_button: "Search",
    search_all: "Show all options",
    search_count: "{count} of {all} options are shown.",
    your_answer: "Your answer",
    length: "{min} to {max} characters",
    your_decision: "Your decision",
    approve: "Approve",
    reject: "Reject",
    send: "Send answer",
    comment: "Comment",
    optional: "optional",
    your_name: "Your name",
    yes: "Yes",
    no: "No",
    no_answer: "No answer",
    number_hint: "A number, such as 12.5",
    array_hint: "A list in JSON, such as [\"a\", \"b\"]",
    object_hint: "An object in JSON, such as {\"a\": 1}",
    wrong_title: "Please check your answer",
    wrong_choice: "Choose one of the options.",
    wrong_decision: "Choose Approve or Reject.",
    wrong_text_empty: "Write an answer.",
    wrong_text_length: "The answer must have {min} to {max} characters; it has {count}.",
    wrong_name: "Write your name.",
    wrong_missing: "Fill in “{field}”.",
    wrong_number: "“{field}” must be a number, such as 12.5.",
    wrong_boolean: "Choose Yes or No for “{field}”.",
    wrong_array: "“{field}” must be a list in JSON, such as [\"a\", \"b\"].",
    wrong_object: "“{field}” must be an object in JSON, such as {\"a\": 1}.",
    wrong_one_of: "Choose one of the values for “{field}”.",
    wrong_field: "“{field}” does not fit: {why}",
    wrong_comment: "The comment is too long.",
    thanks: "Thank you. Your answer is recorded.",
    you_answered: "You",
    still_open: "The question stays open until enough people agree.",
    taken_title: "Your answer was not counted",
    taken: "Another answer was given before. It stands, and is shown here.",
    approved: "Approved",
    rejected: "Rejected",
    answered: "Answered",
    timed_out: "Nobody answered in time",
    cancelled: "This question is no longer open",
    answers: "What was answered",
    answer: "Answer",
    by: "By",
    when: "When",
    may_close: "You can close this page.",
    expired_title: "This link has expired",
    expired: "Links are good for a limited time only. We can send a fresh one to the person whom \
              this one was sent to.",
    expired_while: "The link expired before your answer came in, so it was not counted.",
    expired_kept: "What you wrote, so that you can copy it",
    expired_own: "Links are good for a limited time only. Ask whoever gave you this one for \
                  another.",
    fresh: "Send a fresh link",
    sent_title: "A fresh link is on its way",
    sent: "It is sent to the same person as the expired one. This may take a few minutes.",
    too_many_title: "Too many links were asked for",
    too_many: "Look for the newest message, or try again in an hour.",
    closed_title: "There is nothing to answer any more",
    closed: "The question that this link was for is no longer open.",
    unknown_title: "This link is not valid",
    unknown: "It may have been copied in part, or it may not be for you any more. Open the newest \
              message again.",
    refused_title: "Your answer was not accepted",
    forged: "The answer did not come from the form on this page.",
    requester: "You asked for this yourself, so somebody else has to answer.",
    not_asked: "You are not among those who are asked.",
    too_large: "Your answer is longer than this server takes, and nothing was recorded. Go back \
                in your browser, where what you wrote still is, and shorten it.",
    open_again: "Open the question again",
};

/// German.
static DE: Words = Words {
    lang: "de",
    units: [
        ("Tag", "Tage"),
        ("Stunde", "Stunden"),
        ("Minute", "Minuten"),
    ],
    under_a_minute: "weniger als eine Minute",
    and: "und",
    months: [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    date: "{day}. {month} {year}, {time} UTC",
    left: "Noch {time}",
    until: "bis {at}",
    for_member: "Diese Frage ist an {name} gerichtet.",
    from_workflow: "Gefragt vom Workflow {place}.",
    need: "Es braucht {need} Personen, die sich einig sind. Antworten bisher: {given}.",
    details: "Einzelheiten",
    nothing: "nichts",
    choose: "Bitte wählen",
    search: "In den Optionen suchen",
    search_button: "Suchen",
    search_all: "Alle Optionen zeigen",
    search_count: "{count} von {all} Optionen werden gezeigt.",
    your_answer: "Ihre Antwort",
    length: "{min} bis {max} Zeichen",
    your_decision: "Ihre Entscheidung",
    approve: "Zustimmen",
    reject: "Ablehnen",
    send: "Antwort senden",
    comment: "Kommentar",
    optional: "freiwillig",
    your_name: "Ihr Name",
    yes: "Ja",
    no: "Nein",
    no_answer: "Keine Angabe",
    number_hint: "Eine Zahl, zum Beispiel 12.5",
    array_hint: "Eine Liste in JSON, zum Beispiel [\"a\", \"b\"]",
    object_hint: "Ein Objekt in JSON, zum Beispiel {\"a\": 1}",
    wrong_title: "Bitte prüfen Sie Ihre Antwort",
    wrong_choice: "Wählen Sie eine der Optionen.",
    wrong_decision: "Wählen Sie Zustimmen oder Ablehnen.",
    wrong_text_empty: "Schreiben Sie eine Antwort.",
    wrong_text_length: "Die Antwort muss {min} bis {max} Zeichen haben; sie hat {count}.",
    wrong_name: "Schreiben Sie Ihren Namen.",
    wrong_missing: "Füllen Sie „{field}“ aus.",
    wrong_number: "„{field}“ muss eine Zahl sein, zum Beispiel 12.5.",
    wrong_boolean: "Wählen Sie Ja oder Nein bei „{field}“.",
    wrong_array: "„{field}“ muss eine Liste in JSON sein, zum Beispiel [\"a\", \"b\"].",
    wrong_object: "„{field}“ muss ein Objekt in JSON sein, zum Beispiel {\"a\": 1}.",
    wrong_one_of: "Wählen Sie einen der Werte bei „{field}“.",
    wrong_field: "„{field}“ passt nicht: {why}",
    wrong_comment: "Der Kommentar ist zu lang.",
    thanks: "Danke. Ihre Antwort ist festgehalten.",
    you_answered: "Sie",
    still_open: "Die Frage bleibt offen, bis genug Personen sich einig sind.",
    taken_title: "Ihre Antwort wurde nicht gezählt",
    taken: "Vorher wurde schon anders geantwortet. Diese Antwort gilt und steht hier.",
    approved: "Zugestimmt",
    rejected: "Abgelehnt",
    answered: "Beantwortet",
    timed_out: "Niemand hat rechtzeitig geantwortet",
    cancelled: "Diese Frage ist nicht mehr offen",
    answers: "Was geantwortet wurde",
    answer: "Antwort",
    by: "Von",
    when: "Wann",
    may_close: "Sie können diese Seite schließen.",
    expired_title: "Dieser Link ist abgelaufen",
    expired: "Links gelten nur begrenzte Zeit. Wir können einen neuen an die Person senden, an \
              die dieser ging.",
    expired_while: "Der Link ist abgelaufen, bevor Ihre Antwort ankam; sie wurde nicht gezählt.",
    expired_kept: "Was Sie geschrieben haben, damit Sie es kopieren können",
    expired_own: "Links gelten nur begrenzte Zeit. Bitten Sie um einen neuen, wo Sie diesen \
                  bekommen haben.",
    fresh: "Neuen Link senden",
    sent_title: "Ein neuer Link ist unterwegs",
    sent: "Er geht an dieselbe Person wie der abgelaufene. Das kann einige Minuten dauern.",
    too_many_title: "Es wurden zu viele Links angefordert",
    too_many: "Suchen Sie die neueste Nachricht, oder versuchen Sie es in einer Stunde wieder.",
    closed_title: "Hier gibt es nichts mehr zu beantworten",
    closed: "Die Frage zu diesem Link ist nicht mehr offen.",
    unknown_title: "Dieser Link ist nicht gültig",
    unknown: "Vielleicht wurde er nicht ganz kopiert, oder er ist nicht mehr für Sie bestimmt. \
              Öffnen Sie die neueste Nachricht noch einmal.",
    refused_title: "Ihre Antwort wurde nicht angenommen",
    forged: "Die Antwort kam nicht aus dem Formular dieser Seite.",
    requester: "Sie haben dies selbst beantragt; daher muss jemand anderes antworten.",
    not_asked: "Sie gehören nicht zu denen, die gefragt sind.",
    too_large: "Ihre Antwort ist länger, als dieser Server annimmt; nichts wurde gespeichert. \
                Gehen Sie im Browser zurück, dort steht noch, was Sie geschrieben haben, und \
                kürzen Sie es.",
    open_again: "Die Frage noch einmal öffnen",
};

/// Spanish.
static ES: Words = Words {
    lang: "es",
    units: [("día", "días"), ("hora", "horas"), ("minuto", "minutos")],
    under_a_minute: "menos de un minuto",
    and: "y",
    months: [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ],
    date: "{day} de {month} de {year}, {time} UTC",
    left: "Tiempo restante: {time}",
    until: "hasta el {at}",
    for_member: "Esta pregunta es para {name}.",
    from_workflow: "La hace el flujo de trabajo {place}.",
    need: "Hace falta que {need} personas estén de acuerdo. Respuestas hasta ahora: {given}.",
    details: "Detalles",
    nothing: "nada",
    choose: "Elija una opción",
    search: "Buscar entre las opciones",
    search_button: "Buscar",
    search_all: "Mostrar todas las opciones",
    search_count: "Se muestran {count} de {all} opciones.",
    your_answer: "Su respuesta",
    length: "De {min} a {max} caracteres",
    your_decision: "Su decisión",
    approve: "Aprobar",
    reject: "Rechazar",
    send: "Enviar la respuesta",
    comment: "Comentario",
    optional: "opcional",
    your_name: "Su nombre",
    yes: "Sí",
    no: "No",
    no_answer: "Sin respuesta",
    number_hint: "Un número, por ejemplo 12.5",
    array_hint: "Una lista en JSON, por ejemplo [\"a\", \"b\"]",
    object_hint: "Un objeto en JSON, por ejemplo {\"a\": 1}",
    wrong_title: "Revise su respuesta",
    wrong_choice: "Elija una de las opciones.",
    wrong_decision: "Elija Aprobar o Rechazar.",
    wrong_text_empty: "Escriba una respuesta.",
    wrong_text_length: "La respuesta debe tener de {min} a {max} caracteres; tiene {count}.",
    wrong_name: "Escriba su nombre.",
    wrong_missing: "Rellene «{field}».",
    wrong_number: "«{field}» debe ser un número, por ejemplo 12.5.",
    wrong_boolean: "Elija Sí o No en «{field}».",
    wrong_array: "«{field}» debe ser una lista en JSON, por ejemplo [\"a\", \"b\"].",
    wrong_object: "«{field}» debe ser un objeto en JSON, por ejemplo {\"a\": 1}.",
    wrong_one_of: "Elija uno de los valores en «{field}».",
    wrong_field: "«{field}» no es válido: {why}",
    wrong_comment: "El comentario es demasiado largo.",
    thanks: "Gracias. Su respuesta ha quedado registrada.",
    you_answered: "Usted",
    still_open: "La pregunta sigue abierta hasta que suficientes personas estén de acuerdo.",
    taken_title: "Su respuesta no se ha contado",
    taken: "Antes se dio otra respuesta. Esa es la que vale y se muestra aquí.",
    approved: "Aprobado",
    rejected: "Rechazado",
    answered: "Respondido",
    timed_out: "Nadie respondió a tiempo",
    cancelled: "Esta pregunta ya no está abierta",
    answers: "Qué se respondió",
    answer: "Respuesta",
    by: "Por",
    when: "Cuándo",
    may_close: "Puede cerrar esta página.",
    expired_title: "Este enlace ha caducado",
    expired: "Los enlaces valen solo por un tiempo. Podemos enviar uno nuevo a la persona que \
              recibió este.",
    expired_while: "El enlace caducó antes de que llegara su respuesta, así que no se ha contado.",
    expired_kept: "Lo que escribió, para que pueda copiarlo",
    expired_own: "Los enlaces valen solo por un tiempo. Pida otro a quien le dio este.",
    fresh: "Enviar un enlace nuevo",
    sent_title: "Un enlace nuevo está en camino",
    sent: "Se envía a la misma persona que el caducado. Puede tardar unos minutos.",
    too_many_title: "Se han pedido demasiados enlaces",
    too_many: "Busque el mensaje más reciente o vuelva a intentarlo dentro de una hora.",
    closed_title: "Ya no hay nada que responder",
    closed: "La pregunta de este enlace ya no está abierta.",
    unknown_title: "Este enlace no es válido",
    unknown: "Quizá se copió solo en parte, o ya no es para usted. Abra de nuevo el mensaje más \
              reciente.",
    refused_title: "Su respuesta no se ha aceptado",
    forged: "La respuesta no venía del formulario de esta página.",
    requester: "Usted mismo lo ha solicitado, así que debe responder otra persona.",
    not_asked: "Usted no está entre las personas consultadas.",
    too_large: "Su respuesta es más larga de lo que este servidor acepta y no se ha guardado \
                nada. Vuelva atrás en el navegador, donde sigue lo que escribió, y acórtela.",
    open_again: "Abrir la pregunta de nuevo",
};

/// Every language of the page.
static ALL: [&Words; 3] = [&EN, &DE, &ES];

/// The words of a language tag (`de`, `de-AT`); English if it is not here.
pub fn of(tag: &str) -> &'static Words {
    known(tag).unwrap_or(&EN)
}

fn known(tag: &str) -> Option<&'static Words> {
    let primary = tag.split(['-', '_']).next().unwrap_or_default().trim();
    let mut all = ALL.iter().copied();
    all.find(|words| words.lang.eq_ignore_ascii_case(primary))
}

/// The words of the first language in an `Accept-Language` that is here: browsers write them in order of preference.
pub fn accepted(header: Option<&str>) -> &'static Words {
    let tags = header.unwrap_or_default().split(',').take(20);
    let mut found = tags.filter_map(|tag| known(tag.split(';').next().unwrap_or_default()));
    found.next().unwrap_or(&EN)
}

/// The text, with each `{name}` replaced by its value. What is put in is not looked at again.
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        filled.push_str(before);
        let found = values.iter().find_map(|(name, value)| {
            let after = behind[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((value, after))
        });
        rest = match found {
            Some((value, after)) => {
                filled.push_str(value);
                after
            }
            None => {
                filled.push('{');
                &behind[1..]
            }
        };
    }
    filled.push_str(rest);
    filled
}

impl Words {
    /// A span in words, to its two largest units: `2 days and 3 hours`.
    pub fn span(&self, span: Duration) -> String {
        let minutes = span.as_secs() / 60;
        let amounts = [minutes / 1440, minutes / 60 % 24, minutes % 60];
        let parts: Vec<String> = amounts
            .iter()
            .zip(&self.units)
            .skip_while(|(amount, _)| **amount == 0)
            .take(2)
            .filter(|(amount, _)| **amount > 0)
            .map(|(amount, (one, many))| {
                format!("{amount} {}", if *amount == 1 { one } else { many })
            })
            .collect();
        match parts.is_empty() {
            true => self.under_a_minute.to_owned(),
            false => parts.join(&format!(" {} ", self.and)),
        }
    }

    /// A time as people write it, in UTC.
    pub fn at(&self, at: Timestamp) -> String {
        let Some(utc) = DateTime::<Utc>::from_timestamp_millis(at.0) else {
            return at.to_string();
        };
        let month = self.months.get(utc.month0() as usize).copied();
        fill(
            self.date,
            &[
                ("day", &utc.day().to_string()),
                ("month", month.unwrap_or_default()),
                ("year", &utc.year().to_string()),
                ("time", &format!("{:02}:{:02}", utc.hour(), utc.minute())),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_known_by_the_first_part_of_its_tag() {
        for (tag, lang) in [
            ("de", "de"),
            ("DE-at", "de"),
            ("es_MX", "es"),
            ("en-GB", "en"),
            ("fr", "en"),
            ("", "en"),
            ("deutsch", "en"),
        ] {
            assert_eq!(of(tag).lang, lang, "{tag}");
        }
        for (header, lang) in [
            (None, "en"),
            (Some("fr-FR, de;q=0.8, en;q=0.5"), "de"),
            (Some("es"), "es"),
            (Some("*;q=0.1,,;"), "en"),
        ] {
            assert_eq!(accepted(header).lang, lang, "{header:?}");
        }
    }

    #[test]
    fn a_span_is_said_in_its_two_largest_units() {
        for (seconds, text) in [
            (0, "less than a minute"),
            (59, "less than a minute"),
            (60, "1 minute"),
            (3_600, "1 hour"),
            (3_660, "1 hour and 1 minute"),
            (90_000 + 120, "1 day and 1 hour"),
            (2 * 86_400 + 59, "2 days"),
            (2 * 86_400 + 120, "2 days"),
            (72 * 3_600, "3 days"),
        ] {
            assert_eq!(EN.span(Duration::from_secs(seconds)), text, "{seconds}");
        }
        assert_eq!(
            of("de").span(Duration::from_secs(90_000)),
            "1 Tag und 1 Stunde"
        );
        assert_eq!(
            of("es").span(Duration::from_secs(7_260)),
            "2 horas y 1 minuto"
        );
    }

    #[test]
    fn a_time_is_said_as_people_write_it() {
        let at = Timestamp::parse("2026-03-01T05:07:59Z").expect("a time");
        assert_eq!(EN.at(at), "1 March 2026, 05:07 UTC");
        assert_eq!(of("de").at(at), "1. März 2026, 05:07 UTC");
        assert_eq!(of("es").at(at), "1 de marzo de 2026, 05:07 UTC");
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        let filled = fill("{a} and {b}, {c}", &[("a", "{b}"), ("b", "B")]);
        assert_eq!(filled, "{b} and B, {c}");
    }
}
