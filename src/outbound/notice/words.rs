//! The words of a message, one table a language.

/// What is said in one language. `{…}` is filled in.
#[derive(Debug)]
pub(super) struct Words {
    /// The tag of the language.
    pub tag: &'static str,
    /// Heads the subject and the chat message: asked, reminded, escalated, sent again.
    pub headlines: [&'static str; 4],
    /// The first sentence, for each of these.
    pub leads: [&'static str; 4],
    pub hello: &'static str,
    pub options: &'static str,
    pub more_options: &'static str,
    pub need: &'static str,
    pub invite: &'static str,
    pub button: &'static str,
    pub plain: &'static str,
    pub until: &'static str,
    pub secrecy: &'static str,
    pub origin: &'static str,
}

/// Every language there is; the first is spoken where no other fits.
pub(super) const LANGUAGES: &[Words] = &[EN, DE, ES];

const EN: Words = Words {
    tag: "en",
    headlines: [
        "Your answer is needed",
        "Reminder",
        "Passed on to you",
        "New link",
    ],
    leads: [
        "The workflow “{deployment}” is waiting for your answer.",
        "The workflow “{deployment}” is still waiting for your answer.",
        "The workflow “{deployment}” is waiting for an answer, and the question has been passed on to you.",
        "Here is a new link to the question of the workflow “{deployment}”.",
    ],
    hello: "Hello {name},",
    options: "You can choose:",
    more_options: "All options are on the page.",
    need: "Answers needed: {need}",
    invite: "Open the page to answer. Nothing is decided until you confirm it there.",
    button: "Open the question",
    plain: "Or copy this address into your browser:",
    until: "The link works until {link}. The question stays open until {question}.",
    secrecy: "This link is yours alone: whoever has it can answer in your name.",
    origin: "Workflow {deployment} ({variant}), step {step}, run {run}, question {approval}",
};

const DE: Words = Words {
    tag: "de",
    headlines: [
        "Ihre Antwort wird gebraucht",
        "Erinnerung",
        "An Sie weitergegeben",
        "Neuer Link",
    ],
    leads: [
        "Der Workflow „{deployment}“ wartet auf Ihre Antwort.",
        "Der Workflow „{deployment}“ wartet noch immer auf Ihre Antwort.",
        "Der Workflow „{deployment}“ wartet auf eine Antwort, und die Frage wurde an Sie weitergegeben.",
        "Hier ist ein neuer Link zur Frage des Workflows „{deployment}“.",
    ],
    hello: "Guten Tag {name},",
    options: "Zur Auswahl stehen:",
    more_options: "Alle Möglichkeiten stehen auf der Seite.",
    need: "Nötige Antworten: {need}",
    invite: "Öffnen Sie die Seite, um zu antworten. Entschieden ist erst, was Sie dort bestätigen.",
    button: "Frage öffnen",
    plain: "Oder kopieren Sie diese Adresse in Ihren Browser:",
    until: "Der Link gilt bis {link}. Die Frage bleibt offen bis {question}.",
    secrecy: "Dieser Link gehört nur Ihnen: Wer ihn hat, kann in Ihrem Namen antworten.",
    origin: "Workflow {deployment} ({variant}), Schritt {step}, Lauf {run}, Frage {approval}",
};

const ES: Words = Words {
    tag: "es",
    headlines: [
        "Se necesita su respuesta",
        "Recordatorio",
        "Se le ha pasado una pregunta",
        "Enlace nuevo",
    ],
    leads: [
        "El flujo de trabajo «{deployment}» espera su respuesta.",
        "El flujo de trabajo «{deployment}» sigue esperando su respuesta.",
        "El flujo de trabajo «{deployment}» espera una respuesta, y la pregunta se le ha pasado a usted.",
        "Este es un enlace nuevo a la pregunta del flujo de trabajo «{deployment}».",
    ],
    hello: "Hola, {name}:",
    options: "Puede elegir:",
    more_options: "Todas las opciones están en la página.",
    need: "Respuestas necesarias: {need}",
    invite: "Abra la página para responder. Nada queda decidido hasta que lo confirme allí.",
    button: "Abrir la pregunta",
    plain: "O copie esta dirección en su navegador:",
    until: "El enlace vale hasta {link}. La pregunta sigue abierta hasta {question}.",
    secrecy: "Este enlace es solo suyo: quien lo tenga puede responder en su nombre.",
    origin: "Flujo {deployment} ({variant}), paso {step}, ejecución {run}, pregunta {approval}",
};
