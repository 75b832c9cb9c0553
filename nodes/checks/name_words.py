"""Capitalised words that name nobody: greetings, roles, parts of a product, well-known software, days and months."""

from __future__ import annotations

from typing import Final

_WORDS: Final = """
mr mrs ms miss mx dr prof
a an the and or of for from in on at to with by as is it its if we you your our us i my they this that these those
there all everyone everybody team folks friend again sir madam customer client user colleague colleagues valued dear
hi hello hey thanks thank please sorry regards best kind kindly warm sincerely cheers greetings yours truly
faithfully good morning afternoon evening day days weekend welcome unfortunately however once after before when
while could would can will may might should has have had do does did not no yes also then next first second third
finally support service services care success help desk helpdesk center centre account accounts billing finance
sales engineering product products operations security privacy compliance legal technical technology teams
experience escalation escalations tier level office officer manager management agent specialist engineer
representative department group division head director admin administrator administration owner member settings
setting preferences profile profiles dashboard dashboards report reports reporting insights export import invoice
invoices subscription subscriptions plan plans payment payments method methods order orders history notification
notifications integration integrations api key keys users role roles permission permissions workspace workspaces
project projects board boards task tasks calendar inbox file files folder folders data edit view tools menu home
page pages tab button save cancel submit apply delete reset password login log sign single two factor multi
authentication verification terms conditions policy protection refund return returns general advanced basic free pro
premium business enterprise standard starter trial status update updates release notes version mobile desktop web
app apps application browser server network cloud issue issues bug feature request requests ticket tickets case
number reference incident vat tax id gdpr csv pdf url sso saml mfa faq sla eta pin sms windows mac macos linux
android ios iphone ipad chrome firefox safari edge google microsoft apple outlook excel word slack zoom github
gitlab javascript typescript python java oauth openid postgresql mysql mongodb powerpoint sharepoint onedrive
onenote paypal linkedin youtube facebook whatsapp wordpress dropbox quickbooks salesforce hubspot wifi playstore
appstore monday tuesday wednesday thursday friday saturday sunday january february march april june july august
september october november december english german spanish french european united states kingdom union germany spain
europe america new liebe lieber liebes hallo guten tag morgen abend sehr geehrte geehrter geehrtes damen herren herr
herrn frau kunde kundin kunden zusammen alle ihr ihre euer eure dein deine der die das und oder vom von zum zur
beste freundliche freundlichen viele herzliche grüße grüßen gruß mit kundenservice kundendienst kundenbetreuung
kundensupport kundenteam abteilung buchhaltung technik vertrieb finanzen produktteam supportteam finanzteam
rechnungsteam interessent interessentin nutzer nutzerin kollege kollegin kollegen mitarbeiter mitarbeiterin dank
estimado estimada estimados estimadas hola querido querida buenos buenas días dias tardes noches señor señora
señores sr sra don doña cliente clienta usuario usuaria equipo soporte atención atencion al de del la el los las
nuestro nuestra un una saludos saludo atentamente cordialmente cordiales gracias servicio técnico tecnico finanzas
producto ingeniería ingenieria facturación facturacion ventas compañero compañera compañeros todos todas amigo amiga
departamento
"""
GENERIC: Final = frozenset(_WORDS.split())
"""Lower-case words that are never somebody's name here. A missing word costs a regeneration, a superfluous one lets
an invented name that consists of it pass: names of people and of companies stay out."""
